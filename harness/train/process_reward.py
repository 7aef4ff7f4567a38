"""Scratchpads, read line by line against the task's own worked solution."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from envs.base import Problem
from envs.registry import get
from harness.core.types import Rollouts
from harness.policy.tokenizer import ANSWER, encode


def _characters(ids: Iterable[int]) -> str:
    """One character an id, special ids too, so that places in the text are places in the row."""
    return "".join(map(chr, ids))


LINE_BREAK = _characters(encode("\n"))
# What a line earns is a multiple of 1 / EXACT: sums are then the same in any order, and completions that earn the same
# are exactly equal, as a group without signal must be.
EXACT = 2**20


def right_steps(rollouts: Rollouts, problems: Sequence[Problem], thinking: int | None) -> Tensor | None:
    """[B, T]: what the lines of each scratchpad earn; None for a policy that does not think.

    A line is right if the worked solution has the very same in that place: each of n lines earns 1/n, at its last
    token, so that a right line cannot be paid twice and all of them earn 1. Where many ways lead to the answer
    (countdown, say) only the task's own counts. A row without ANSWER has no scratchpad; nor has a task of several
    turns.
    """
    if thinking is None:
        return None
    solutions = [_characters(encode(get(p.task).scratchpad(p))).split(LINE_BREAK) for p in problems]
    earned = np.zeros(rollouts.ids.shape, dtype=np.float32)
    places = zip(*(x.tolist() for x in (rollouts.problem, rollouts.prompt_length, rollouts.length)))
    for row, ids, (problem, place, end) in zip(earned, rollouts.ids.tolist(), places):
        scratchpad, begun, _ = _characters(ids[place:end]).partition(chr(ANSWER))
        for line, right in zip(scratchpad.split(LINE_BREAK) if begun else (), solutions[problem]):
            if line and line == right:
                row[place + len(line) - 1] = round(EXACT / len(solutions[problem])) / EXACT
            place += len(line) + 1
    return torch.from_numpy(earned).to(rollouts.ids.device)


def steps_metrics(steps: Tensor | None, seeds: int) -> dict[str, Tensor]:
    """steps_right [S]: share of the worked solutions' lines that scratchpads hold."""
    return {} if steps is None else {"steps_right": steps.sum(1).view(seeds, -1).mean(1)}
