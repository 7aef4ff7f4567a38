"""What was spent. By the field's convention: pretraining 6·N·T; RL 2·N·T to sample and 6·N·T to update, T counting
prompt and response tokens of all samples, N the weights without the input embedding (arXiv 2001.08361, 2510.13786)."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Spent:
    """Budget used so far; each field is an axis of the run table."""

    step: int = 0
    completions: int = 0
    tokens: int = 0
    flops: float = 0.0
    flops_convention: float = 0.0
    seconds: float = 0.0

    def rl_step(self, n: int, completions: int, tokens: int, trained_tokens: int, seconds: float) -> "Spent":
        """One RL step of a policy of n weights; of `tokens`, sampled and prompted, `trained_tokens` saw an update."""
        return replace(
            self,
            step=self.step + 1,
            completions=self.completions + completions,
            tokens=self.tokens + tokens,
            flops=self.flops + 2 * n * tokens + 6 * n * trained_tokens,
            flops_convention=self.flops_convention + 8 * n * tokens,
            seconds=self.seconds + seconds,
        )

    def pretraining_step(self, n: int, documents: int, tokens: int, seconds: float) -> "Spent":
        spent = 6.0 * n * tokens
        return replace(
            self,
            step=self.step + 1,
            completions=self.completions + documents,
            tokens=self.tokens + tokens,
            flops=self.flops + spent,
            flops_convention=self.flops_convention + spent,
            seconds=self.seconds + seconds,
        )
