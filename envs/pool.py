"""A fixed pool of distinct problems that training draws from again and again."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from envs.base import Problem, Task
from envs.draw import indices
from envs.mixture import Mixture
from envs.splits import draw_in_split


class PoolTooLarge(ValueError):
    """A mixture has fewer distinct problems than a pool asks for."""


@dataclass(frozen=True, eq=False)
class ProblemPool:
    """Distinct training problems and the probability of each, [problems]."""

    problems: tuple[Problem, ...]
    probabilities: np.ndarray

    def draw(self, n: int, rng: np.random.Generator) -> list[Problem]:
        """n independent problems, with replacement; pure in the state of `rng`."""
        return [self.problems[i] for i in indices(rng, self.probabilities, n)]


def draw_pool(mixture: Mixture, size: int, exponent: float, rng: np.random.Generator) -> ProblemPool:
    """A pool of exactly so many problems of the training split, distinct by task and content; pools of one stream are
    prefixes of each other.

    A task and difficulty has its share of the pool, as far as it has problems, and in any case its probability in the
    mixture (of those in the pool); its i-th problem has weight i ** -exponent (0: uniform, 1: Zipf's law). Raises
    PoolTooLarge where the mixture has fewer.
    """
    drawn = list(_distinct(mixture, size, rng))
    if len(drawn) < size:
        raise PoolTooLarge(f"these tasks and difficulties have about {len(drawn)} distinct training problems")
    cells, problems = np.array([cell for cell, _ in drawn]), tuple(problem for _, problem in drawn)
    probabilities = np.zeros(size)
    for cell, (*_, probability) in enumerate(mixture.cells()):
        members = np.flatnonzero(cells == cell)
        weights = np.arange(1, len(members) + 1.0) ** -exponent
        probabilities[members] = probability * weights / weights.sum()
    return ProblemPool(problems, probabilities / probabilities.sum())


def _distinct(mixture: Mixture, size: int, rng: np.random.Generator) -> Iterator[tuple[int, Problem]]:
    """Up to `size` (cell, problem): each new problem of the cell that lacks most of its share (Sainte-Laguë's method),
    so that cells which are alike get equally many; a cell that has no more is left out from there on."""
    cells = mixture.cells()
    weights = np.array([probability for *_, probability in cells])
    seen: dict[str, set[str]] = {task.name: set() for task, *_ in cells}
    counts = [0] * len(cells)
    while sum(counts) < size and weights.any():
        cell = int(np.argmax(weights / (2 * np.array(counts) + 1)))
        task, difficulty, _ = cells[cell]
        problem = _new_problem(task, difficulty, seen[task.name], 20 * (counts[cell] + 50), rng)
        if problem is None:
            weights[cell] = 0
            continue
        seen[task.name].add(problem.content)
        counts[cell] += 1
        yield cell, problem


def _new_problem(task: Task, difficulty: int, seen: set[str], tries: int, rng: np.random.Generator) -> Problem | None:
    """A training problem whose content is not in `seen`; None if so many draws find none: likely there is none left."""
    draws = (draw_in_split(task, difficulty, "train", rng) for _ in range(tries))
    return next((problem for problem in draws if problem.content not in seen), None)
