"""A weighted mixture of tasks and difficulties, drawn from one generator and so resumable."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from envs.base import Problem, Task
from envs.draw import Rng, indices
from envs.splits import SPLITS, EmptySplit, check_split, draw_in_split, has_problems


@dataclass(frozen=True)
class Mixture:
    """Tasks with weights; within a task, difficulty d has weight difficulty_decay ** (d - 1).

    `difficulties` empty means all that a task has; those that a task lacks, or whose split is empty, are left out.
    Raises ValueError where nothing is left of a task, or for weights that are not positive, one per task.
    """

    tasks: tuple[Task, ...]
    weights: tuple[float, ...] = ()
    difficulties: tuple[int, ...] | None = None
    difficulty_decay: float = 1.0

    def __post_init__(self) -> None:
        if not self.tasks:
            raise ValueError("a mixture needs at least one task")
        if not self.weights:
            object.__setattr__(self, "weights", (1.0,) * len(self.tasks))
        if len(self.weights) != len(self.tasks) or min(self.weights) <= 0:
            raise ValueError(f"a mixture of {len(self.tasks)} tasks needs as many weights above 0, not {self.weights}")
        if self.difficulty_decay <= 0:
            raise ValueError(f"difficulty_decay must be above 0, not {self.difficulty_decay}")

    def cells(self, split: str = "train") -> tuple[tuple[Task, int, float], ...]:
        """(task, difficulty, probability) of all that this split can draw; probabilities sum to 1."""
        check_split(split)
        return self._cells[split]

    def draw(self, n: int, rng: Rng, split: str = "train") -> list[Problem]:
        """n independent problems; pure in the state of `rng`."""
        cells = self.cells(split)
        chosen = indices(rng, [probability for *_, probability in cells], n)
        return [draw_in_split(cells[i][0], cells[i][1], split, rng) for i in chosen]

    @cached_property
    def _cells(self) -> dict[str, tuple[tuple[Task, int, float], ...]]:
        return {split: tuple(self._weighted_cells(split)) for split in SPLITS}

    def _weighted_cells(self, split: str) -> Iterator[tuple[Task, int, float]]:
        for task, weight in zip(self.tasks, self.weights):
            asked = [d for d in task.difficulties if not self.difficulties or d in self.difficulties]
            if not asked:
                raise ValueError(
                    f"{task.name} has none of the difficulties {self.difficulties}: it has {task.difficulties}"
                )
            usable = [d for d in asked if has_problems(task, d, split)]
            if not usable:
                fix = "add difficulties, or use another split"
                raise EmptySplit(f"{task.name} has no problem in split {split!r} at difficulties {asked}: {fix}")
            decay = [self.difficulty_decay ** (d - 1) for d in usable]
            for difficulty, share in zip(usable, decay):
                yield task, difficulty, weight / sum(self.weights) * share / sum(decay)


def distributed_weights(distribution: str, n: int, decades: float) -> tuple[float, ...]:
    """Weights of n tasks in their order, the first 1: uniform, whatever the decades; log_uniform, down over so many
    decades, each task by the same factor rarer than the one before; two_clusters, the first half (the larger, if one
    is) at 1, the others so many decades rarer. Raises KeyError for another distribution."""
    weights = {
        "uniform": np.ones(n),
        "log_uniform": np.logspace(0, -decades, n),
        "two_clusters": np.where(np.arange(n) < (n + 1) // 2, 1.0, 10.0**-decades),
    }
    return tuple(weights[distribution].tolist())
