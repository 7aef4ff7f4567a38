"""What was spent. By the field's convention: pretraining 6·N·T; RL 2·N·T to sample, 6·N·T for each epoch of updates and
2·N·T for a reference, T counting prompt and response tokens of all samples, N the weights without the input embedding
(arXiv 2001.08361, 2510.13786)."""

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

    def after_rl_step(
        self, n: int, completions: int, tokens: int, forward: int, trained: int, per_token: float, seconds: float
    ) -> "Spent":
        """One RL step of a policy of n weights on `tokens`, sampled and prompted: `forward` of them went through
        passes without gradient, `trained` through updates, counted each time; by the convention each costs
        per_token x n."""
        return replace(
            self,
            step=self.step + 1,
            completions=self.completions + completions,
            tokens=self.tokens + tokens,
            flops=self.flops + 2 * n * forward + 6 * n * trained,
            flops_convention=self.flops_convention + per_token * n * tokens,
            seconds=self.seconds + seconds,
        )

    def after_pretraining_step(self, n: int, documents: int, tokens: int, seconds: float) -> "Spent":
        """One step of pretraining, which is all update: its tokens are its documents'."""
        return self.after_rl_step(n, documents, tokens, 0, tokens, 6.0, seconds)
