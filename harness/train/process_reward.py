"""Scratchpads, compared line by line with the task's own gold scratchpad."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from envs.base import Problem
from envs.registry import get
from harness.core.types import Rollouts
from harness.policy.tokenizer import ANSWER, encode


def _characters(ids: Iterable[int]) -> str:
    """One character an id, special ids too, so that indices into the text are indices into the row."""
    return "".join(map(chr, ids))


LINE_BREAK = _characters(encode("\n"))
# A line's reward is a multiple of 1 / RESOLUTION: sums are then the same in any order, and completions with the same
# lines have exactly equal rewards, as a zero-advantage group needs.
RESOLUTION = 2**20


def line_rewards(rollouts: Rollouts, problems: Sequence[Problem], thinking: int | None) -> Tensor | None:
    """[B, T]: the rewards of the lines of each scratchpad; None for a policy without scratchpads.

    A line is correct if the gold scratchpad has the same one at that place: each of its n lines is worth 1/n, at the
    line's last token, so that a line cannot be rewarded twice and all of them are worth 1. Where many ways lead to the
    answer (countdown, say) only the task's own counts. A row without ANSWER has no scratchpad; nor has a task of
    several turns.
    """
    if thinking is None:
        return None
    gold = [_characters(encode(get(p.task).scratchpad(p))).split(LINE_BREAK) for p in problems]
    rewards = np.zeros(rollouts.ids.shape, dtype=np.float32)
    extents = zip(rollouts.prompt_length.tolist(), rollouts.length.tolist())
    for i, (row, ids, (start, end)) in enumerate(zip(rewards, rollouts.ids.tolist(), extents)):
        expected_lines = gold[i // rollouts.group_size]
        scratchpad, has_answer, _ = _characters(ids[start:end]).partition(chr(ANSWER))
        for line, expected in zip(scratchpad.split(LINE_BREAK) if has_answer else (), expected_lines):
            if line and line == expected:
                row[start + len(line) - 1] = round(RESOLUTION / len(expected_lines)) / RESOLUTION
            start += len(line) + 1
    return torch.from_numpy(rewards).to(rollouts.ids.device)
