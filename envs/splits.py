"""Train, validation and test, disjoint by content: a problem is in the same split in every task that asks it."""

import hashlib
from functools import cache

import numpy as np

from envs.base import Problem, Task

SPLITS = ("train", "validation", "test")
_SPLIT_OF_TENTH = (0, 0, 0, 0, 0, 0, 0, 1, 2, 2)
_TRIES = 1000


class EmptySplit(ValueError):
    """A task has no problem of this difficulty in this split."""


def split_of(problem: Problem) -> str:
    """Seven tenths of all contents are train, one tenth validation, two tenths test."""
    return SPLITS[_SPLIT_OF_TENTH[problem.hash % 10]]


def check_split(split: str) -> None:
    """Raises ValueError for an unknown split."""
    if split not in SPLITS:
        raise ValueError(f"no split is called {split!r}: choose one of {', '.join(SPLITS)}")


def draw_in_split(task: Task, difficulty: int, split: str, rng: np.random.Generator) -> Problem:
    """A problem of that split, by rejection.

    Raises EmptySplit if 1,000 draws find none, ValueError for an unknown split or difficulty.
    """
    check_split(split)
    if difficulty not in task.difficulties:
        raise ValueError(f"{task.name} has no difficulty {difficulty}: choose from {task.difficulties}")
    for _ in range(_TRIES):
        problem = task.draw(rng, difficulty)
        if split_of(problem) == split:
            return problem
    raise EmptySplit(f"{task.name} has no problem of difficulty {difficulty} in split {split!r}: leave it out")


@cache
def _has_problems(task_name: str, draw, difficulty: int, split: str) -> bool:
    rng = np.random.default_rng(_key(task_name, difficulty, split, 0))
    return any(split_of(draw(rng, difficulty)) == split for _ in range(_TRIES))


def has_problems(task: Task, difficulty: int, split: str) -> bool:
    """Whether that split holds any problem of that difficulty."""
    return _has_problems(task.family, task.draw, difficulty, split)


def distinct_problems(task: Task, difficulty: int, split: str, n: int, seed: int) -> tuple[Problem, ...]:
    """A fixed list of up to n problems with distinct contents; fewer where the difficulty has fewer.

    A pure function of its arguments. All tasks of a family get the same contents in the same order.
    """
    check_split(split)
    found: dict[str, Problem] = {}
    misses = i = 0
    # The search ends when so many draws in a row bring nothing new that, likely, nothing new is left.
    while len(found) < n and misses < 20 * (len(found) + 50):
        # Each draw has its own stream, so that wordings, which use up more numbers, cannot shift later contents.
        problem = task.draw(np.random.default_rng(_key(task.family, difficulty, split, seed, i)), difficulty)
        new = problem.content not in found and split_of(problem) == split
        misses = 0 if new else misses + 1
        if new:
            found[problem.content] = problem
        i += 1
    return tuple(found.values())


def _key(family: str, difficulty: int, split: str, seed: int, draw: int = 0) -> np.random.SeedSequence:
    family_key = int.from_bytes(hashlib.blake2b(family.encode(), digest_size=4).digest(), "little")
    return np.random.SeedSequence(seed, spawn_key=(family_key, difficulty, SPLITS.index(split), draw))
