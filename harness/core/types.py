"""What the RL step passes from hand to hand.

Shapes: S stacked seeds, P problems, G completions each, B = S·P·G rows (seed-major, groups contiguous), T tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import Any, TypeVar

import torch
from torch import Tensor

from envs.base import Problem, Verdict
from harness.core.seeding import Key

Dataclass = TypeVar("Dataclass")


def tree_map(item: Dataclass, function: Any) -> Dataclass:
    """The dataclass with `function` applied to each of its tensors."""
    values = {f.name: getattr(item, f.name) for f in fields(item)}  # ty: ignore[invalid-argument-type]
    return type(item)(**{k: function(v) if isinstance(v, Tensor) else v for k, v in values.items()})


class StopReason(IntEnum):
    """Why a completion ended: its stop token, the token limit, or (several turns) the environment."""

    STOP = 0
    LENGTH = 1


@dataclass(frozen=True)
class Rollouts:
    """Sampled episodes, right-padded. One row, for the prompt "1+2=" and the completion "3":

        ids              BOS 1 + 2 = TURN 3   EOS  PAD
        loss_mask         0  0 0 0 0  0   1   1    0     1 where the policy drew the token: the stop token too
        sampler_logprobs  0  0 0 0 0  0  -.4 -.1   0     of ids[t] given ids[:t], under the law that drew it
        turn              0  0 0 0 0  0   0   0    0     which turn a token belongs to

    Environment text of later turns stands in ids with loss_mask 0. Padding is known from `length`, never from ids.
    """

    ids: Tensor  # [B, T] int64
    loss_mask: Tensor  # [B, T] bool
    sampler_logprobs: Tensor  # [B, T] float32
    turn: Tensor  # [B, T] int64
    length: Tensor  # [B] int64, real tokens of the row
    prompt_length: Tensor  # [B] int64
    stop_reason: Tensor  # [B] int64, a StopReason
    problem: Tensor  # [B] int64, index into the step's problems (0 … S·P - 1)
    seed_index: Tensor  # [B] int64
    seeds: int  # S
    group_size: int  # G

    @property
    def rows(self) -> int:
        return self.ids.shape[0]

    def grouped(self, x: Tensor) -> Tensor:
        """[B, ...] as [S, P, G, ...]."""
        return x.unflatten(0, (self.seeds, -1, self.group_size))


@dataclass(frozen=True)
class Checked:
    """What the environment said of each row."""

    verdict: Tensor  # [B] int64, an envs.base.Verdict
    well_formed: Tensor  # [B] bool; of wrong rows False where it was not asked for


@dataclass(frozen=True)
class RewardInputs:
    """All that a reward may look at."""

    rollouts: Rollouts
    checked: Checked
    problems: Sequence[Problem]  # S·P
    keys: tuple[Key, ...]  # [S]
    scores: Tensor | None = None  # [B], a reward model's
    steps: Tensor | None = None  # [B, T], what right lines of scratchpads earn


@dataclass(frozen=True)
class Credit:
    """What each token is judged by. `base` is the arm's own reward before shaping: it decides which groups are silent.
    NaN marks an unscorable row, which takes no part in baselines or in the loss."""

    base: Tensor  # [B]
    outcome: Tensor  # [B]
    token: Tensor | None = None  # [B, T]: process rewards, KL in the reward, GAE


@dataclass(frozen=True)
class Batch:
    """Groups ready for the update: each prompt once, and all that follows it, R = P·G rows of each seed.

    Rows that only fill up a seed with fewer groups have loss_mask 0. `denominator` [S] and `loss_tokens` [S] count all
    scorable rows *before* silent groups were left out, so that leaving one out equals masking it; the first divides the
    loss, the second what is told per token.
    """

    prompts: Tensor  # [S, P, T] right-padded
    prompt_length: Tensor  # [S, P]
    completions: Tensor  # [S, R, C]: from the first drawn token on, environment text of later turns included
    loss_mask: Tensor  # [S, R, C] bool
    sampler_logprobs: Tensor  # [S, R, C]
    advantages: Tensor  # [S, R, C]
    weight: Tensor  # [S, R]: what each token of a row counts in the loss
    denominator: Tensor  # [S]
    loss_tokens: Tensor  # [S]
    computed: Tensor  # [S] real tokens that the update runs over, each prompt once
    ref_logprobs: Tensor | None = None  # [S, R, C], of the frozen reference
    values: Tensor | None = None  # [S, R, C], of the critic before the step
    returns: Tensor | None = None  # [S, R, C]: what they should have been
    fixed: bool = False  # whether every step's batch has these shapes

    def groups(self, start: int, stop: int) -> "Batch":
        """A micro-batch of whole groups under the same denominator."""
        if stop - start == self.prompts.shape[1]:
            return self
        g = self.completions.shape[1] // self.prompts.shape[1]
        by_group = {name: getattr(self, name)[:, start:stop] for name in ("prompts", "prompt_length")}
        rows = ("completions", "loss_mask", "sampler_logprobs", "advantages", "weight")
        found = {name: getattr(self, name) for name in (*rows, "ref_logprobs", "values", "returns")}
        by_row = {name: None if x is None else x[:, start * g : stop * g] for name, x in found.items()}
        return replace(self, **by_group, **by_row)


def to_device(item: Dataclass, device: torch.device) -> Dataclass:
    # To the CPU it has to wait: what comes later would be read too early.
    return tree_map(item, lambda x: x.to(device, non_blocking=device.type != "cpu"))


def scorable(checked: Checked) -> Tensor:
    """[B] bool."""
    return checked.verdict != int(Verdict.UNSCORABLE)
