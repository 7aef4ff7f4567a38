"""Difficulty: planted exponents lie in their intervals; base success: gains and signal of each cell."""

import numpy as np
import pytest

from harness.analysis.data.curves import Curves
from harness.analysis.data.difficulty_times import gamma, threshold_times
from harness.analysis.stats.contrasts import mean_record
from harness.analysis.verdict.difficulty import difficulty_scaling, gain_by_base_success, largest_solved, signal_share

X = 10.0 ** np.linspace(0, 4, 17)
DIFFICULTIES = np.array([1.0, 2.0, 3.0, 4.0, 6.0])


def part_of(accuracy: np.ndarray, r0: float = 0.1) -> Curves:
    n = len(accuracy)
    noise = np.full_like(accuracy, 1e-6)
    return Curves("a", ("t",), X, accuracy, noise, noise, np.full(n, r0), np.full(n, 1e-6), tuple(range(n)), ("b",) * n)


def sigmoids(log_times: np.ndarray) -> Curves:
    """Replicates that rise from .1 to .9 about planted log10 times [n], and cross .5 there."""
    return part_of(0.1 + 0.8 / (1 + 10.0 ** (-2 * (np.log10(X) - log_times[:, None]))))


def planted(exponent: float, seeds: int = 6, rng_seed: int = 0) -> dict:
    rng = np.random.default_rng(rng_seed)
    own = rng.normal(0, 0.1, seeds)
    return {
        ("t", f"{d:g}", ""): sigmoids(0.8 + exponent * np.log10(d) + own + rng.normal(0, 0.03, seeds))
        for d in DIFFICULTIES
    }


def test_a_planted_exponent_comes_back_with_its_interval() -> None:
    (record,) = difficulty_scaling(planted(2.0))
    assert record["used"] == DIFFICULTIES.tolist()
    assert record["gamma"]["low"] < 2.0 < record["gamma"]["high"]
    assert record["gamma"]["mean"] == pytest.approx(2.0, abs=0.15)


def test_the_interval_of_an_exponent_holds_the_truth_93_to_97_times_in_100() -> None:
    rng = np.random.default_rng(0)
    held = []
    for _ in range(2000):
        exponents = 1.5 + rng.normal(0, 0.3, 6)
        times = exponents[:, None] * np.log10(DIFFICULTIES) + rng.normal(0, 0.1, (6, len(DIFFICULTIES)))
        interval = mean_record(gamma(times, DIFFICULTIES))
        held.append(interval["low"] <= 1.5 <= interval["high"])
    assert 0.93 <= np.mean(held) <= 0.97


def test_difficulties_that_some_replicate_does_not_solve_are_not_used() -> None:
    parts = planted(2.0)
    parts["t", "9", ""] = part_of(np.full((6, len(X)), 0.2))
    (record,) = difficulty_scaling(parts)
    assert 9.0 in record["difficulties"]
    assert 9.0 not in record["used"]


def test_the_largest_difficulty_solved_grows_with_compute() -> None:
    parts = planted(2.0)
    (record,) = difficulty_scaling(parts)
    assert record["largest_solved"][0] == 0
    assert record["largest_solved"][-1] == 6.0
    assert np.all(np.diff(record["largest_solved"]) >= 0)
    assert largest_solved(list(parts.values()), DIFFICULTIES).shape == (6, len(X))


def test_what_is_solved_before_the_first_budget_or_never_has_no_time() -> None:
    for level in (0.1, 0.9):
        assert np.isnan(threshold_times(np.log10(X), np.full((2, len(X)), level))).all()


def test_names_that_are_no_numbers_have_no_exponent() -> None:
    parts = {("t", name, ""): sigmoids(np.full(3, 2.0)) for name in ("easy", "hard", "harder", "")}
    assert difficulty_scaling(parts) == []


def test_gains_stand_beside_base_success_and_the_share_of_groups_with_signal() -> None:
    (record,) = gain_by_base_success({("t", "1", ""): sigmoids(np.full(4, 2.0))}, 8)
    assert record["base_success"] == pytest.approx(0.1)
    assert record["gain"]["mean"] == pytest.approx(0.8, abs=0.01)
    assert record["signal_share"] == pytest.approx(1 - 0.1**8 - 0.9**8)
    assert signal_share(0.5, 2) == 0.5
    (without,) = gain_by_base_success({("t", "1", ""): sigmoids(np.full(4, 2.0))}, None)
    assert without["signal_share"] is None
