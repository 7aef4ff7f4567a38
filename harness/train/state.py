"""The state of a training run, and the report of a step."""

import copy
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from envs.pool import ProblemPool
from harness.core.flops import Spent
from harness.core.seeding import Key, keys
from harness.core.types import Rewards, Rollouts, VerifierResults, tensors_of
from harness.policy.backends.backend import Backend
from harness.policy.transformer import Transformer


@dataclass
class TrainState:
    """Everything that a run needs to resume exactly; S stacked runs share it."""

    seeds: tuple[int, ...]  # [S]
    policy: Transformer
    optimizer: torch.optim.Optimizer
    backend: Backend
    spent: tuple[Spent, ...] = ()  # [S], all at the same step
    reference: Transformer | None = None  # frozen; where the algorithm measures a KL from it
    reward_model: Transformer | None = None  # frozen once it is trained; where the reward is learned
    critic: Transformer | None = None  # changed by `optimizer` too; where the algorithm has one
    success: Tensor | None = None  # [S, cells]: estimated success; where a curriculum has a target
    solved: tuple[dict[tuple[str, int], int], ...] = ()  # [S] problems that are not drawn again (curriculum.Solved)
    pools: tuple[ProblemPool, ...] = ()  # [S], from the seeds alone; where RL draws from a pool
    past_weights: list[dict[str, Tensor]] = field(default_factory=list)  # of an off-policy sampler, oldest first
    sampling_policy: Transformer | None = None  # the off-policy sampler, which holds the first of them

    def __post_init__(self) -> None:
        self.spent = self.spent or (Spent(),) * len(self.seeds)
        self.solved = self.solved or ({},) * len(self.seeds)

    @property
    def step(self) -> int:
        return self.spent[0].step

    def keys(self, purpose: str) -> tuple[Key, ...]:
        """This step's random streams, one a seed."""
        return keys(purpose, self.seeds, self.step)

    @property
    def learners(self) -> nn.ModuleDict:
        """The models that an update trains, by name."""
        models = {"policy": self.policy, "critic": self.critic}
        return nn.ModuleDict({name: model for name, model in models.items() if model is not None})


@torch.no_grad()
def reference_logprobs(state: TrainState, rollouts: Rollouts, temperature: float) -> Tensor | None:
    """[B, T], of ids[t] given ids[:t] at this temperature, 0 where nothing was drawn; None without a reference."""
    if state.reference is None:
        return None
    logprobs = state.backend.token_logprobs(state.reference, rollouts.by_seed(rollouts.ids), temperature)
    return logprobs.flatten(0, 1) * rollouts.loss_mask


def behavior_policy(state: TrainState, off_policy_steps: int) -> Transformer:
    """The policy as it was so many updates ago, or at first where there were fewer (PipelineRL, arXiv 2509.19128).
    Call it once a step: it keeps the weights that later steps will need in state.past_weights, oldest first."""
    if off_policy_steps == 0:
        return state.policy
    now = {name: weight.detach().clone() for name, weight in state.policy.state_dict().items()}
    state.past_weights = [*state.past_weights, now][-(off_policy_steps + 1) :]
    state.sampling_policy = state.sampling_policy or copy.deepcopy(state.policy)
    state.sampling_policy.load_state_dict(state.past_weights[0])
    return state.sampling_policy


@dataclass(frozen=True)
class StepReport:
    """One finished step: its 0-based number, metrics [S] each, seconds by phase; of RL also what was sampled."""

    step: int
    metrics: dict[str, Tensor]
    seconds: dict[str, float]
    rollouts: Rollouts | None = None
    results: VerifierResults | None = None
    rewards: Rewards | None = None


class NonFinite(RuntimeError):
    """A tensor that is not finite: which one, at which step, on what batch."""

    def __init__(self, tensor: str, step: int, batch: dict[str, Any]):
        super().__init__(f"step {step}: {tensor} is not finite")
        self.tensor, self.step, self.batch = tensor, step, batch


def gradients_of(model: nn.Module) -> dict[str, Tensor]:
    """The gradients that a model's parameters hold, by a name to print."""
    weights = dict(model.named_parameters())
    return {f"the gradient of {name}": weight.grad for name, weight in weights.items() if weight.grad is not None}


def check_finite(step: int, tensors: dict[str, Tensor], batch: Any) -> None:
    """Raises NonFinite with the name of the first tensor that has an element which is not finite, and the batch,
    a dict or a dataclass of tensors. Call it before the weights change: such a step must stop the run."""
    # A norm is quick, and finite unless one of its terms is not, or it overflows.
    if torch.stack(torch._foreach_norm(list(tensors.values()))).isfinite().all():
        return
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise NonFinite(name, step, batch if isinstance(batch, dict) else tensors_of(batch))


class Stopwatch:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Generator[None]:
        start = time.perf_counter()
        yield
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - start
