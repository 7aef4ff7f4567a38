"""Weights of many tasks by a named distribution."""

import numpy as np
import pytest

from envs.weights import distributed_weights

DISTRIBUTIONS = ("uniform", "log_uniform", "two_clusters")


@pytest.mark.parametrize("name", DISTRIBUTIONS)
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
    assert {distributed_weights(name, 6, 0.0) for name in DISTRIBUTIONS} == {(1.0,) * 6}
    assert distributed_weights("uniform", 6, 3.0) == (1.0,) * 6
