"""The training mixture, and weights of many tasks by a named distribution."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

import envs
from envs.mixture import Mixture, distributed_weights
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


@pytest.mark.parametrize("name", ["uniform", "log_uniform", "two_clusters"])
@pytest.mark.parametrize("n", [1, 2, 7, 24])
def test_there_is_a_weight_above_zero_for_each_task_and_the_first_is_one(name, n):
    found = distributed_weights(name, n, 3.0)
    assert len(found) == n
    assert found[0] == 1
    assert min(found) > 0


def test_log_uniform_weights_fall_by_one_factor_over_the_decades():
    found = np.array(distributed_weights("log_uniform", 24, 3.0))
    assert found[-1] == pytest.approx(1e-3)
    assert found[1:] / found[:-1] == pytest.approx(10 ** (-3 / 23))


def test_two_clusters_are_halves_so_many_decades_apart():
    assert distributed_weights("two_clusters", 5, 2.0) == pytest.approx((1, 1, 1, 0.01, 0.01))


def test_without_decades_all_distributions_are_uniform():
    assert {distributed_weights(name, 6, 0.0) for name in ("uniform", "log_uniform", "two_clusters")} == {(1.0,) * 6}
    assert distributed_weights("uniform", 6, 3.0) == (1.0,) * 6
