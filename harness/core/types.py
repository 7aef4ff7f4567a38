"""The types that the RL step passes along.

Shapes: S stacked seeds, P problems, G completions each, B = S·P·G rows (seed-major, groups contiguous), R = P·G rows of
one seed, T tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import Any, TypeVar

import torch
from torch import Tensor

from envs.base import Correctness, Problem
from harness.core.seeding import Key

Dataclass = TypeVar("Dataclass")


def tensors_of(item: Any) -> dict[str, Tensor]:
    """The tensors of a dataclass, by field."""
    values = {f.name: getattr(item, f.name) for f in fields(item)}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def to_device(item: Dataclass, device: torch.device) -> Dataclass:
    """The dataclass with its tensors on `device`."""
    # A copy to the CPU has to wait: what reads it would be too early.
    wait = device.type == "cpu"
    moved = {name: x.to(device, non_blocking=not wait) for name, x in tensors_of(item).items()}
    return replace(item, **moved)  # ty: ignore[invalid-argument-type]


class StopReason(IntEnum):
    """Why a completion ended: its stop token, or the token limit."""

    STOP = 0
    LENGTH = 1


@dataclass(frozen=True)
class SampleRequest:
    """What to sample: group_size completions of each prompt.

    A row may take up to max_answer_tokens tokens; with a `thinking` budget up to `thinking` tokens and ANSWER come
    before them. Token t of a row is drawn from uniforms[..., t]; rows that are not `active` get no token.
    """

    prompts: Tensor  # [S, P, T] int64, right-padded
    length: Tensor  # [S, P]
    uniforms: Tensor  # [S, R, most tokens of a row]
    active: Tensor  # [S, R] bool
    group_size: int
    max_answer_tokens: int
    temperature: float
    thinking: int | None = None


@dataclass(frozen=True)
class Completions:
    """Sampled tokens [S, R, C], right-padded with 0."""

    ids: Tensor
    logprobs: Tensor  # 0 where the token was forced
    sampled: Tensor  # bool: tokens that the policy drew, rather than the thinking budget forced
    length: Tensor  # [S, R], stop token and forced token included
    stop_reason: Tensor  # [S, R]


@dataclass(frozen=True)
class Rollouts:
    """Sampled episodes, right-padded. One row, for the prompt "1+2=" and the completion "3":

        ids              BOS 1 + 2 = TURN 3   EOS  PAD
        loss_mask         0  0 0 0 0  0   1   1    0     1 where the policy drew the token: the stop token too
        sampler_logprobs  0  0 0 0 0  0  -.4 -.1   0     log p(ids[t] | ids[:t]) as it was sampled
        turn              0  0 0 0 0  0   0   0    0     the turn that a token belongs to

    Text of the environment in later turns stands in ids with loss_mask 0. `length` marks the padding, never the ids.
    """

    ids: Tensor  # [B, T] int64
    loss_mask: Tensor  # [B, T] bool
    sampler_logprobs: Tensor  # [B, T] float32
    turn: Tensor  # [B, T] int64
    length: Tensor  # [B] int64, tokens of the row without padding
    prompt_length: Tensor  # [B] int64
    stop_reason: Tensor  # [B] int64, a StopReason
    seeds: int  # S
    group_size: int  # G

    @property
    def rows(self) -> int:
        return self.ids.shape[0]

    def grouped(self, x: Tensor) -> Tensor:
        """[B, ...] as [S, P, G, ...]."""
        return x.unflatten(0, (self.seeds, -1, self.group_size))

    def by_seed(self, x: Tensor) -> Tensor:
        """[B, ...] as [S, R, ...]."""
        return x.unflatten(0, (self.seeds, -1))


@dataclass(frozen=True)
class VerifierResults:
    """The environment's judgement of each row."""

    correctness: Tensor  # [B] int64, an envs.base.Correctness
    well_formed: Tensor  # [B] bool; False where it was not requested

    @property
    def scorable(self) -> Tensor:
        """[B] bool."""
        return self.correctness != int(Correctness.UNSCORABLE)


@dataclass(frozen=True)
class RewardInputs:
    """Everything that a reward may depend on."""

    rollouts: Rollouts
    results: VerifierResults
    problems: Sequence[Problem]  # S·P
    keys: tuple[Key, ...]  # [S]
    predicted_reward: Tensor | None = None  # [B], of a reward model
    line_rewards: Tensor | None = None  # [B, T], of the correct lines of scratchpads


@dataclass(frozen=True)
class Rewards:
    """`base` is the arm's own reward before shaping: it decides which groups have zero advantage. NaN marks an
    unscorable row, which takes no part in baselines or in the loss."""

    base: Tensor  # [B]
    outcome: Tensor  # [B]
    token: Tensor | None = None  # [B, T]: process rewards, KL in the reward


@dataclass(frozen=True)
class GroupedCompletions:
    """Prompts, each once, and the completions of their groups; log-probabilities are wanted where `mask` is True."""

    prompts: Tensor  # [S, P, T] right-padded
    prompt_length: Tensor  # [S, P], at least 2
    completions: Tensor  # [S, R, C]: from the first sampled token on, environment text of later turns included
    mask: Tensor  # [S, R, C] bool


@dataclass(frozen=True)
class Batch(GroupedCompletions):
    """Groups ready for the update; `mask` is that of the loss.

    Rows that only pad a seed with fewer groups have mask 0. `denominator` [S] and `loss_tokens` [S] count all
    scorable rows *before* zero-advantage groups were left out, so that leaving one out equals masking it; the loss is
    divided by the first, metrics per token by the second.
    """

    sampler_logprobs: Tensor  # [S, R, C]
    advantages: Tensor  # [S, R, C]
    weight: Tensor  # [S, R]: weight of each token of a row in the loss
    denominator: Tensor  # [S]
    loss_tokens: Tensor  # [S]
    update_tokens: Tensor  # [S], prompts and completions without padding, each prompt once
    ref_logprobs: Tensor | None = None  # [S, R, C], of the frozen reference
    values: Tensor | None = None  # [S, R, C], of the critic before the step
    returns: Tensor | None = None  # [S, R, C], its targets

    @property
    def n_groups(self) -> int:
        return self.prompts.shape[1]

    def select_groups(self, groups: slice) -> "Batch":
        """A micro-batch of whole groups under the same denominator."""
        if groups.stop - groups.start == self.n_groups:
            return self
        group_size = self.completions.shape[1] // self.n_groups
        by_group = {name: getattr(self, name)[:, groups] for name in ("prompts", "prompt_length")}
        shared = {"denominator", "loss_tokens", "update_tokens"}
        rows = slice(groups.start * group_size, groups.stop * group_size)
        by_row = {name: x[:, rows] for name, x in tensors_of(self).items() if name not in shared | by_group.keys()}
        return replace(self, **by_group, **by_row)
