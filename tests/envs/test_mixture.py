"""The training mixture."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

import envs
from envs.mixture import Mixture
from envs.splits import split_of

TASKS = envs.select(["addition.*", "sorting.symbolic"])


def test_draw_is_a_pure_function_of_the_generator():
    mixture = Mixture(TASKS)
    assert mixture.draw(50, np.random.default_rng(3)) == mixture.draw(50, np.random.default_rng(3))
    assert mixture.draw(50, np.random.default_rng(3)) != mixture.draw(50, np.random.default_rng(4))


def test_shares_follow_weights_and_difficulty_decay():
    mixture = Mixture(TASKS, weights=(1, 1, 2), difficulties=(1, 2, 3), difficulty_decay=0.5)
    problems = mixture.draw(7000, np.random.default_rng(0))
    tasks, difficulties = Counter(p.task for p in problems), Counter(p.difficulty for p in problems)
    assert [tasks[t.name] / 7000 for t in TASKS] == pytest.approx([0.25, 0.25, 0.5], abs=0.02)
    assert [difficulties[d] / 7000 for d in (1, 2, 3)] == pytest.approx([4 / 7, 2 / 7, 1 / 7], abs=0.02)
    assert sum(p for *_, p in mixture.cells()) == pytest.approx(1)


def test_every_draw_is_in_the_split():
    for split in ("train", "validation", "test"):
        assert {split_of(p) for p in Mixture(TASKS).draw(100, np.random.default_rng(0), split)} == {split}


def test_difficulty_with_an_empty_split_is_left_out():
    def draw(rng, difficulty):
        problem = TASKS[0].draw(rng, 2)
        return replace(problem, difficulty=difficulty, content="only" if difficulty == 1 else problem.content)

    task = replace(TASKS[0], draw=draw, difficulties=(1, 2))
    splits = {split: {d for _, d, _ in Mixture((task,)).cells(split)} for split in ("train", "validation", "test")}
    assert sorted(map(sorted, splits.values())) == [[1, 2], [2], [2]]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"tasks": ()}, "at least one task"),
        ({"weights": (1.0,)}, "as many weights"),
        ({"weights": (1.0, 1.0, 0.0)}, "as many weights above 0"),
        ({"difficulty_decay": 0.0}, "difficulty_decay"),
    ],
)
def test_bad_mixture_is_refused(arguments, reason):
    with pytest.raises(ValueError, match=reason):
        Mixture(**({"tasks": TASKS} | arguments))


def test_difficulty_that_no_task_has_is_refused():
    with pytest.raises(ValueError, match=r"addition\.symbolic has none of the difficulties"):
        Mixture(TASKS, difficulties=(77,)).draw(1, np.random.default_rng(0))
