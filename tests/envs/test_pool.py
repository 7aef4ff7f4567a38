"""Pools of distinct problems: their size, their probabilities, and what is refused."""

from collections import Counter

import numpy as np
import pytest

import tests.toy_task  # noqa: F401
from envs.mixture import Mixture
from envs.pool import PoolTooLarge, draw_pool
from envs.registry import select
from envs.splits import split_of

ONE_CELL = Mixture(select(["toy.symbolic"]), difficulties=(2,))
# Difficulty 1 of a task has some 180 training problems, and half of the weight of the task.
MIXTURE = Mixture(select(["toy.*"]), (1.0, 3.0), difficulties=(1, 2, 3), difficulty_decay=0.5)


def pool(mixture, size, exponent=0.0, seed=0):
    return draw_pool(mixture, size, exponent, np.random.default_rng(seed))


def name(problem):
    return problem.task, problem.content


@pytest.mark.parametrize("size", [1, 7, 500, 2000])
def test_a_pool_holds_exactly_so_many_distinct_training_problems(size):
    problems = pool(MIXTURE, size).problems
    assert len({name(problem) for problem in problems}) == len(problems) == size
    assert {split_of(problem) for problem in problems} == {"train"}


def test_draws_come_from_the_pool_and_meet_all_of_it():
    small = pool(MIXTURE, 20)
    drawn = small.draw(5000, np.random.default_rng(1))
    assert {name(problem) for problem in drawn} == {name(problem) for problem in small.problems}
    assert small.draw(9, np.random.default_rng(2)) == small.draw(9, np.random.default_rng(2))


def test_the_stream_alone_gives_the_pool_and_smaller_pools_are_prefixes():
    assert pool(MIXTURE, 50).problems == pool(MIXTURE, 200).problems[:50]
    assert pool(MIXTURE, 50).problems != pool(MIXTURE, 50, seed=1).problems


def test_tasks_and_difficulties_keep_their_shares_however_few_problems_they_have():
    """A share of 4/7 x 3/4 of 2,000 is more than the problems that difficulty 1 has."""
    large = pool(MIXTURE, 2000)
    for task, difficulty, probability in MIXTURE.cells():
        own = [p.task == task.name and p.difficulty == difficulty for p in large.problems]
        assert large.probabilities[own].sum() == pytest.approx(probability)
        assert np.ptp(large.probabilities[own]) == 0


def test_tasks_and_difficulties_have_their_shares_of_the_pool_itself():
    """To within one problem: the six of this mixture have the shares (1, 3) x (4, 2, 1) / 28; those alike, the same."""
    size = 84
    counts = Counter((p.task, p.difficulty) for p in pool(MIXTURE, size).problems)
    for task, difficulty, probability in MIXTURE.cells():
        assert abs(counts[task.name, difficulty] - size * probability) <= 1
    alike = Mixture(select(["toy.*"]), difficulties=(1, 2, 3))
    assert set(Counter((p.task, p.difficulty) for p in pool(alike, 6).problems).values()) == {1}


@pytest.mark.parametrize("exponent", [0.0, 1.0, 1.5])
def test_problems_are_drawn_by_their_rank_to_the_exponent(exponent):
    """All within 4.5 standard deviations of the share, of one task and difficulty."""
    size, n = 30, 20_000
    ranked = pool(ONE_CELL, size, exponent)
    counts = Counter(map(name, ranked.draw(n, np.random.default_rng(3))))
    shares = np.arange(1, size + 1.0) ** -exponent
    shares /= shares.sum()
    drawn = np.array([counts[name(problem)] / n for problem in ranked.problems])
    assert (abs(drawn - shares) < 4.5 * np.sqrt(shares * (1 - shares) / n)).all()


def test_a_pool_larger_than_the_training_split_is_refused_with_its_size():
    """Of 260 problems seven tenths or so: all of them make a pool, one more does not."""
    mixture = Mixture(select(["toy.symbolic"]), difficulties=(1,))
    with pytest.raises(PoolTooLarge) as error:
        pool(mixture, 261)
    size = int(str(error.value).split("about ")[1].split()[0])
    problems = {name(p) for p in mixture.draw(5000, np.random.default_rng(4))}
    assert {name(p) for p in pool(mixture, size).problems} == problems
