"""What to draw: the mixture as configured, or tilted towards problems that the policy solves about as often as not.

With a target, each cell (task and difficulty) is drawn with its weight in the mixture times a bump around the target at
the policy's recent success there: problems that are always or never solved teach nothing (as in adaptive difficulty,
RLVE, arXiv 2511.07317). A share of the draws keeps the plain mixture, so that no cell is forgotten. The odds of every
step are metrics (train/odds/{task}/{difficulty}), from which what was drawn can be drawn again.

And what to draw no more: problems that were once solved often enough (no-positive-resampling: ScaleRL, arXiv
2510.13786). Each is kept, in the checkpoint too, with the step that retired it, so that any step's draws can be drawn
again from the last of them.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from envs.base import Problem
from envs.mixture import Mixture
from envs.splits import draw_in_split
from harness.core.types import Checked, scorable

WIDTH = 0.2  # of the bump, in success
FLOOR = 0.1  # share of the plain mixture
MEMORY = 0.9  # of the success so far, at each new group
TRIES = 20  # times that a retired problem is drawn anew; a mixture that has hardly another keeps it

Retired = dict[tuple[str, int], int]  # (task, content hash) -> the step that retired it


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


def draw(
    mixture: Mixture, chances: np.ndarray | None, retired: Retired, n: int, rng: np.random.Generator
) -> list[Problem]:
    """n problems of the training split; in the place of retired ones others, from the same stream."""
    problems = _draw(mixture, chances, n, rng)
    for _ in range(TRIES if retired else 0):  # a problem's name is a hash
        again = [i for i, problem in enumerate(problems) if name_of(problem) in retired]
        if not again:
            break
        for i, problem in zip(again, _draw(mixture, chances, len(again), rng)):
            problems[i] = problem
    return problems


def _draw(mixture: Mixture, chances: np.ndarray | None, n: int, rng: np.random.Generator) -> list[Problem]:
    if chances is None:
        return mixture.draw(n, rng)
    cells = mixture.cells()
    chosen = np.searchsorted(np.cumsum(chances)[:-1], rng.random(n), side="right")
    return [draw_in_split(cells[i][0], cells[i][1], "train", rng) for i in chosen.tolist()]


def name_of(problem: Problem) -> tuple[str, int]:
    """What a problem is retired by: its task and its content's hash."""
    return problem.task, problem.hash


def pass_rates(problems: Sequence[Problem], checked: Checked) -> list[float]:
    """Of each problem the share of its scorable completions that were right; NaN where there is none."""
    right, valid = (x.view(len(problems), -1).sum(1).tolist() for x in (checked.verdict == 1, scorable(checked)))
    return [r / v if v else float("nan") for r, v in zip(right, valid)]


def retire(
    retired: Sequence[Retired], problems: Sequence[Problem], checked: Checked, at: float | None, step: int
) -> tuple[Retired, ...]:
    """Each seed's retired problems after this step, those of it whose pass rate reached `at` among them."""
    if at is None:
        return tuple(retired)
    out, per_seed = tuple(dict(each) for each in retired), len(problems) // len(retired)
    for i, (problem, rate) in enumerate(zip(problems, pass_rates(problems, checked))):
        if rate >= at:
            out[i // per_seed].setdefault(name_of(problem), step)
    return out


def remember(success: Tensor | None, mixture: Mixture, problems: Sequence[Problem], checked: Checked) -> Tensor | None:
    """Success after one more step's groups, a group at a time; one without any scorable row changes nothing."""
    if success is None:
        return None
    number = {(task.name, difficulty): i for i, (task, difficulty, _) in enumerate(mixture.cells())}
    out, per_seed = success.clone(), len(problems) // len(success)
    for i, (problem, rate) in enumerate(zip(problems, pass_rates(problems, checked))):
        if rate == rate:
            seed, cell = i // per_seed, number[problem.task, problem.difficulty]
            out[seed, cell] += (1 - MEMORY) * (rate - out[seed, cell])
    return out


def retired_metrics(retired: Sequence[Retired], at: float | None) -> dict[str, Tensor]:
    """How many problems of each seed are retired, [S]; nothing where none ever is."""
    return {} if at is None else {"retired_problems": torch.tensor([float(len(each)) for each in retired])}


def odds_metrics(mixture: Mixture, chances: Sequence[np.ndarray | None]) -> dict[str, Tensor]:
    """odds/{task}/{difficulty}, [S] each; nothing where they are the mixture's own, and never change."""
    tilted = [chance for chance in chances if chance is not None]
    if not tilted:
        return {}
    names = [f"odds/{task.name}/{difficulty}" for task, difficulty, _ in mixture.cells()]
    return dict(zip(names, torch.from_numpy(np.stack(tilted, axis=1))))
