"""What to draw: the mixture as configured, or tilted towards problems that the policy solves about as often as not.

With a target, each cell (task and difficulty) is drawn with its weight in the mixture times a bump around the target at
the policy's recent success there: problems that are always or never solved teach nothing (as in adaptive difficulty,
RLVE, arXiv 2511.07317). A share of the draws keeps the plain mixture, so that no cell is forgotten. The odds of every
step are metrics (train/odds/{task}/{difficulty}), from which what was drawn can be drawn again.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from envs.base import Problem
from envs.mixture import Mixture
from envs.splits import draw_in_split
from harness.types import Checked, scorable

WIDTH = 0.2  # of the bump, in success
FLOOR = 0.1  # share of the plain mixture
MEMORY = 0.9  # of the success so far, at each new group


def untried(mixture: Mixture, seeds: int, target: float | None) -> Tensor | None:
    """Success of each seed in each cell, [S, cells], before anything was drawn: on target. None without a target."""
    return None if target is None else torch.full((seeds, len(mixture.cells())), target, dtype=torch.float64)


def odds(mixture: Mixture, success: Tensor | None, target: float | None, seeds: int) -> Sequence[np.ndarray | None]:
    """For each seed the probability of each cell, [cells]; None: the mixture's own."""
    if success is None or target is None:
        return [None] * seeds
    plain = np.array([probability for *_, probability in mixture.cells()])
    tilted = plain * np.exp(-0.5 * ((success.numpy() - target) / WIDTH) ** 2)
    return list((1 - FLOOR) * tilted / tilted.sum(1, keepdims=True) + FLOOR * plain)


def draw(mixture: Mixture, chances: np.ndarray | None, n: int, rng: np.random.Generator) -> list[Problem]:
    """n problems of the training split."""
    if chances is None:
        return mixture.draw(n, rng)
    cells = mixture.cells()
    chosen = np.searchsorted(np.cumsum(chances)[:-1], rng.random(n), side="right")
    return [draw_in_split(cells[i][0], cells[i][1], "train", rng) for i in chosen.tolist()]


def remember(success: Tensor | None, mixture: Mixture, problems: Sequence[Problem], checked: Checked) -> Tensor | None:
    """Success after one more step's groups, a group at a time; one without any scorable row changes nothing."""
    if success is None:
        return None
    number = {(task.name, difficulty): i for i, (task, difficulty, _) in enumerate(mixture.cells())}
    right, valid = ((x.view(len(problems), -1)).double().cpu() for x in (checked.verdict == 1, scorable(checked)))
    out, per_seed = success.clone(), len(problems) // len(success)
    for i, problem in enumerate(problems):
        if valid[i].any():
            seed, cell = i // per_seed, number[problem.task, problem.difficulty]
            share = (right[i].sum() / valid[i].sum()).item()
            out[seed, cell] += (1 - MEMORY) * (share - out[seed, cell])
    return out


def odds_metrics(mixture: Mixture, chances: Sequence[np.ndarray | None]) -> dict[str, Tensor]:
    """odds/{task}/{difficulty}, [S] each; nothing where they are the mixture's own, and never change."""
    tilted = [chance for chance in chances if chance is not None]
    if not tilted:
        return {}
    names = [f"odds/{task.name}/{difficulty}" for task, difficulty, _ in mixture.cells()]
    return dict(zip(names, torch.from_numpy(np.stack(tilted, axis=1))))
