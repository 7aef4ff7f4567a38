"""What a training run carries from step to step, and what a step tells."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from harness.core.flops import Spent
from harness.core.types import Checked, Credit, Rollouts
from harness.policy.transformer import Transformer


@dataclass
class TrainState:
    """All that a run needs to go on exactly; S stacked runs share it."""

    seeds: tuple[int, ...]  # [S]
    policy: Transformer
    optimizer: torch.optim.Optimizer
    spent: tuple[Spent, ...] = ()  # [S], all at the same step
    reference: Transformer | None = None  # frozen; where the algorithm measures a KL from it
    reward_model: Transformer | None = None  # frozen once it is trained; where the reward is learned
    critic: Transformer | None = None  # changed by `optimizer` too; where the algorithm has one
    success: Tensor | None = None  # [S, cells] of the mixture so far; where a curriculum aims at one
    retired: tuple[dict[tuple[str, int], int], ...] = ()  # [S] problems that are not drawn again (curriculum.Retired)
    lagged: list[dict[str, Tensor]] = field(default_factory=list)  # weights a lagging sampler needs, oldest first
    stale: Transformer | None = None  # the lagging sampler, which is given the first of them

    def __post_init__(self) -> None:
        self.spent = self.spent or (Spent(),) * len(self.seeds)
        self.retired = self.retired or ({},) * len(self.seeds)

    @property
    def step(self) -> int:
        return self.spent[0].step

    @property
    def learners(self) -> nn.ModuleDict:
        """The models that an update changes, by name."""
        models = {"policy": self.policy, "critic": self.critic}
        return nn.ModuleDict({name: model for name, model in models.items() if model is not None})


@dataclass(frozen=True)
class Sampled:
    """A step's episodes, for sample tables."""

    rollouts: Rollouts
    checked: Checked
    credit: Credit


@dataclass(frozen=True)
class StepReport:
    """One finished step: its 0-based number, metrics [S] each, seconds by phase."""

    step: int
    metrics: dict[str, Tensor]
    seconds: dict[str, float]
    sampled: Sampled | None = None


OnStep = Callable[[TrainState, StepReport], None]


class NonFinite(RuntimeError):
    """A loss or gradient that is not a number: which tensor, at which step, on what batch."""

    def __init__(self, tensor: str, step: int, batch: dict[str, Any]):
        super().__init__(f"step {step}: {tensor} is not finite")
        self.tensor, self.step, self.batch = tensor, step, batch


def check_finite(state: TrainState, values: dict[str, Tensor | None], batch: dict[str, Any]) -> None:
    """Raises NonFinite naming the first tensor, of `values` and the gradients of all that learns, that holds one: a
    poisoned step is never skipped in silence. `batch` goes with it; the weights are still those before the update."""
    gradients = {f"the gradient of {name}": weight.grad for name, weight in state.learners.named_parameters()}
    present = {name: value for name, value in (values | gradients).items() if value is not None}
    # One norm of each is quick, and finite unless one of its terms is not, or it overflows.
    if torch.stack(torch._foreach_norm(list(present.values()))).isfinite().all():
        return
    for name, value in present.items():
        if not torch.isfinite(value).all():
            raise NonFinite(name, state.step, batch)


class Stopwatch:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Generator[None]:
        start = time.perf_counter()
        yield
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - start
