"""Steps of this project, ready to be timed, and their plain form: no prompt shared, nothing packed."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.task import FRAME
from benchmarks.timing import synchronise
from envs.vector import TextVectorEnv
from harness.config.compose import plain
from harness.config.parse import parse
from harness.config.schema import Config
from harness.core.types import Completions, GroupedCompletions, SampleRequest
from harness.policy.backends.backend import Backend
from harness.policy.backends.eager import EagerBackend
from harness.policy.sampler import sample
from harness.policy.transformer import Transformer
from harness.run.job import new_state, training_mixture
from harness.train.rl import rl_step
from harness.train.state import StepReport, TrainState


@dataclass(frozen=True)
class Shape:
    """What a step is of: a model (configs/model), completions of `tokens`, prompts of as many or of `prompt`, and
    problems x group_size."""

    model: str
    tokens: int
    problems: int = 32
    group_size: int = 8
    overrides: tuple[str, ...] = ()
    prompt: int = 0  # tokens; 0: as many as a completion's

    @property
    def prompt_tokens(self) -> int:
        return self.prompt or self.tokens

    @property
    def rows(self) -> int:
        return self.problems * self.group_size


SHAPES = (Shape("mini", 8), Shape("mini", 32), Shape("nano", 8), Shape("nano", 32))  # of the tables
THINKING = (Shape("nano", 64, prompt=32), Shape("mini", 64, prompt=32))


def composed(overrides: Sequence[str]) -> Config:
    """The configuration of a run (configs/train.yaml) with these overrides."""
    from hydra import compose, initialize_config_module

    with initialize_config_module("configs", version_base="1.3"):
        return parse(plain(compose("train", overrides=list(overrides))))


def config_of(shape: Shape, task: str = "bench.half", precision: str = "fp32", device: str = "cpu") -> Config:
    """The configuration of a step of this shape."""
    overrides = [
        "imports=[benchmarks.task]",
        f"model={shape.model}",
        f"model.context={shape.prompt_tokens + shape.tokens + FRAME}",
        "algo=grpo",
        f"tasks.verified=[{task}]",
        "tasks.unverified=[]",
        f"tasks.difficulties=[{shape.prompt_tokens - FRAME}]",
        f"base.tasks=[{task}]",
        "base.contexts.symbolic=0",
        "base.contexts.worded=0",
        f"+base.contexts.{task.removeprefix('bench.')}=1",
        f"base.difficulties=[{shape.prompt_tokens - FRAME}]",
        f"rl.problems={shape.problems}",
        f"rl.group_size={shape.group_size}",
        f"sampling.max_new_tokens={shape.tokens}",
        f"precision={precision}",
        "tracker=none",
        f"device={device}",
        *shape.overrides,
    ]
    return composed(overrides)


@dataclass(frozen=True)
class Stepper:
    """Untrained policies and their steps, which use the cores as a run does that has the machine to itself."""

    config: Config
    state: TrainState
    step: Callable[[], Any]

    def flops(self) -> tuple[float, float]:
        """What one more step of the first policy spends: as computed, and by the field's convention."""
        before = self.state.spent[0]
        self.step()
        after = self.state.spent[0]
        return after.flops - before.flops, after.flops_convention - before.flops_convention


def stepper(config: Config, seeds: int = 1) -> Stepper:
    """Of so many seeds in one stack. A step ends when the device has done its work."""
    state, mixture = new_state(config, config.optim, tuple(range(seeds))), training_mixture(config)
    env = TextVectorEnv(seeds * config.rl.problems * config.rl.group_size, mixture.tasks[0])

    def step() -> StepReport:
        with as_in_a_run(state.backend):
            report = rl_step(config, state, env, mixture)
            synchronise(config.device)
            return report

    return Stepper(config, state, step)


@contextmanager
def as_in_a_run(backend: Backend) -> Generator[None]:
    """The threads of a run that has as many cores as PyTorch has threads now."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with backend.num_threads(threads):
            yield
    finally:
        torch.set_num_threads(threads)


def plainly(one: Stepper) -> Callable[[], Any]:
    """The same step on the plain path: PyTorch alone, a prompt for each completion, in one padded batch."""

    def work() -> None:
        backend, one.state.backend = one.state.backend, PlainBackend()
        try:
            one.step()
        finally:
            one.state.backend = backend

    return work


class PlainBackend(EagerBackend):
    """Nothing shared within a group, nothing packed, no row left out once it has ended."""

    name = "plain"

    def sample(self, policy: Transformer, request: SampleRequest) -> Completions:
        g = request.group_size
        prompts, length = (x.repeat_interleave(g, dim=1) for x in (request.prompts, request.length))
        return sample(policy, replace(request, prompts=prompts, length=length, group_size=1), compact=False)

    def completion_hidden(self, policy: Transformer, grouped: GroupedCompletions) -> Tensor:
        rows, c = grouped.completions.shape[1:]
        g = rows // grouped.prompts.shape[1]
        prompts, length = (x.repeat_interleave(g, dim=1) for x in (grouped.prompts, grouped.prompt_length[..., None]))
        at = torch.arange(prompts.shape[-1] + c, device=prompts.device)
        padded = torch.nn.functional.pad(prompts, (0, c))
        ids = torch.where(at < length, padded, grouped.completions.gather(2, (at - length).clamp(0, c - 1)))
        hidden = policy.hidden(ids[..., :-1])
        index = (length - 1 + torch.arange(c, device=prompts.device)).clamp(max=hidden.shape[2] - 1)
        return hidden.gather(2, index[..., None].expand(*index.shape, hidden.shape[-1]))


def prompts_of(shape: Shape) -> tuple[Tensor, Tensor]:
    """Random prompts of that shape [1, P, T], and their lengths [1, P]."""
    ids = torch.randint(16, 112, (1, shape.problems, shape.tokens), generator=torch.Generator().manual_seed(0))
    return ids, torch.full((1, shape.problems), shape.tokens)
