"""Steps of this project, ready to be timed, and their plain form: no prompt shared, nothing packed."""

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from envs.vector import TextVectorEnv
from harness.bench.task import FRAME
from harness.config.compose import plain
from harness.config.parse import parse
from harness.config.schema import Config
from harness.policy.backends import native
from harness.policy.sampler import Completions, sample
from harness.policy.transformer import Transformer
from harness.run.run import new_state, training_mixture
from harness.train.helpers import Each, helpers
from harness.train.rl import rl_step
from harness.train.state import StepReport, TrainState


@dataclass(frozen=True)
class Shape:
    """What a step is of: a model (configs/model), prompts and completions of `tokens` each, problems x group_size."""

    model: str
    tokens: int
    problems: int = 32
    group_size: int = 8
    overrides: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        return self.problems * self.group_size


SHAPES = (Shape("mini", 8), Shape("mini", 32), Shape("nano", 8), Shape("nano", 32))  # of the tables


def composed(overrides: Sequence[str]) -> Config:
    """The configuration of a run (configs/train.yaml) with these overrides."""
    from hydra import compose, initialize_config_module

    with initialize_config_module("configs", version_base="1.3"):
        return parse(plain(compose("train", overrides=list(overrides))))


def config_of(shape: Shape, task: str = "bench.half", precision: str = "fp32") -> Config:
    """The configuration of a step of this shape."""
    overrides = [
        "imports=[harness.bench.task]",
        f"model={shape.model}",
        f"model.context={2 * shape.tokens + FRAME}",
        "algo=grpo",
        f"tasks.verified=[{task}]",
        "tasks.unverified=[]",
        f"tasks.difficulties=[{shape.tokens - FRAME}]",
        f"base.tasks=[{task}]",
        "base.contexts.symbolic=0",
        "base.contexts.worded=0",
        f"+base.contexts.{task.removeprefix('bench.')}=1",
        f"base.difficulties=[{shape.tokens - FRAME}]",
        f"rl.problems={shape.problems}",
        f"rl.group_size={shape.group_size}",
        f"sampling.max_new_tokens={shape.tokens}",
        f"precision={precision}",
        "tracker=none",
        "device=cpu",
        *shape.overrides,
    ]
    return composed(overrides)


@dataclass(frozen=True)
class Stepper:
    """An untrained policy and its steps, which use the cores as a run does that has the machine to itself."""

    config: Config
    state: TrainState
    step: Callable[[], Any]

    def flops(self) -> tuple[float, float]:
        """What one more step spends: as computed, and by the field's convention."""
        (before,) = self.state.spent
        self.step()
        (after,) = self.state.spent
        return after.flops - before.flops, after.flops_convention - before.flops_convention


def stepper(config: Config) -> Stepper:
    state, mixture = new_state(config, config.optim, (0,)), training_mixture(config)
    env = TextVectorEnv(config.rl.problems * config.rl.group_size, mixture.tasks[0])

    def step() -> StepReport:
        with as_in_a_run(state.policy) as each:
            return rl_step(config, state, env, mixture, each)

    return Stepper(config, state, step)


@contextmanager
def as_in_a_run(policy: Transformer) -> Generator[Each]:
    """The helpers of a run that has as many cores as there are threads now."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with native.shared_by(threads), helpers(threads, policy) as each:
            yield each
    finally:
        torch.set_num_threads(threads)


def plainly(one: Stepper) -> Callable[[], Any]:
    """The same step on the reference path: PyTorch's operations alone, each completion with a prompt of its own, in one
    padded batch."""

    def work() -> None:
        with ExitStack() as stack:
            stack.enter_context(native.plain())
            stack.enter_context(patch("harness.policy.logprobs.completion_logits", plain_logits))
            stack.enter_context(patch("harness.train.rollout.sample", plain_sample))
            stack.enter_context(patch("harness.policy.sampler.FULL_ENOUGH", 0.0))
            one.step()

    return work


def plain_logits(
    policy: Transformer, prompts: Tensor, prompt_length: Tensor, completions: Tensor, mask: Tensor, fixed: bool = False
) -> Tensor:
    """`completion_logits` by the plain forward on whole rows."""
    rows, c = completions.shape[1:]
    each = lambda x: x.repeat_interleave(rows // prompts.shape[1], dim=1)  # noqa: E731
    length, at = each(prompt_length)[..., None], torch.arange(prompts.shape[-1] + c, device=prompts.device)
    padded = torch.nn.functional.pad(each(prompts), (0, c))
    ids = torch.where(at < length, padded, completions.gather(2, (at - length).clamp(0, c - 1)))
    logits = policy(ids[..., :-1])
    place = (length - 1 + torch.arange(c, device=prompts.device)).clamp(max=logits.shape[2] - 1)
    return logits.gather(2, place[..., None].expand(*place.shape, logits.shape[-1]))


def plain_sample(policy: Transformer, prompts: Tensor, length: Tensor, group_size: int, *rest: Any) -> Completions:
    """`sample` with each prompt computed once a completion."""
    each = lambda x: x.repeat_interleave(group_size, dim=1)  # noqa: E731
    return sample(policy, each(prompts), each(length), 1, *rest)


def prompts_of(shape: Shape) -> tuple[Tensor, Tensor]:
    """Random prompts of that shape [1, P, T], and their lengths [1, P]."""
    ids = torch.randint(16, 112, (1, shape.problems, shape.tokens), generator=torch.Generator().manual_seed(0))
    return ids, torch.full((1, shape.problems), shape.tokens)
