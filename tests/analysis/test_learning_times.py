"""Learning times: planted ones are recovered with their spread, censored ones stay in, and steps rebuild the pool."""

import json

import numpy as np
import polars as pl
import pytest
from statsmodels.duration.survfunc import SurvfuncRight

from harness.analysis.calibration.code_hash import MECHANISM, code_hash
from harness.analysis.calibration.mechanism import FOUND
from harness.analysis.data.curves import cell_curves, curves
from harness.analysis.data.table import check_table
from harness.analysis.verdict.learning_times import Times, cell_times, kaplan_meier, learning_times, log_uniform_spread

BUDGETS = np.concatenate([[0.0], 10.0 ** np.linspace(0, 3, 13)])
PROBLEMS = 400


def table_of(times: np.ndarray, rise: float = 0.6, steepness: float = 8.0, seeds: int = 5):
    """Cells that rise steeply at planted log10 times [cells, seeds]."""
    rng = np.random.default_rng(0)
    z = np.log10(np.maximum(BUDGETS, 1e-9))
    rows = []
    for cell, own in enumerate(times):
        for seed in range(seeds):
            level = 0.1 + rise / (1 + 10.0 ** np.clip(-steepness * (z - own[seed]), -300, 300))
            rows += [
                {"run_id": f"r{seed}", "arm": "true_reward", "seed": seed, "task": f"t{cell}", "role": "verified",
                 "x": x, "n_problems": PROBLEMS, "k": 1, "n_correct": int(n)}
                for x, n in zip(BUDGETS, rng.binomial(PROBLEMS, level))
            ]  # fmt: skip
    return check_table(pl.DataFrame(rows))


def found(times: np.ndarray, **more) -> dict:
    table = table_of(times, **more)
    record = learning_times(cell_curves(table, "true_reward"), curves(table, "true_reward"), margin=0.03)
    assert record is not None
    return record


def spread_times(low: float, high: float, cells: int = 24, seeds: int = 5) -> np.ndarray:
    middles = low + (high - low) * (np.arange(cells) + 0.5) / cells
    return middles[:, None] + np.random.default_rng(1).normal(0, 0.03, (cells, seeds))


@pytest.mark.parametrize(
    ("low", "high", "late"),  # late: beyond the window or, in its last third of a decade, still rising at its end
    [(0.5, 2.5, 0.0), (1.0, 2.2, 0.0), (0.5, 4.5, 0.46), (0.4, 5.4, 0.55)],
)
def test_planted_times_come_back_with_their_spread_up_to_half_of_them_censored(low, high, late) -> None:
    record = found(spread_times(low, high))
    assert record["spread_decades"] == pytest.approx(high - low, rel=0.1)
    assert record["late"] / (record["observed"] + record["early"] + record["late"]) == pytest.approx(late, abs=0.05)
    assert record["log_uniform_distance"] < 0.1
    assert "are spread log-uniformly" in record["sentence"]


def test_times_are_near_those_planted() -> None:
    times = spread_times(0.5, 2.5, cells=6)
    parts = cell_curves(table_of(times), "true_reward")
    for planted, part in zip(times, parts.values()):
        assert cell_times(part, 0.03).half == pytest.approx(planted, abs=0.1)


def test_steps_at_the_learning_times_rebuild_a_line_and_its_slope() -> None:
    record = found(spread_times(0.0, 3.0))
    assert record["rebuilt"]["deviation"] < 0.05
    assert record["rebuilt"]["slope"] == pytest.approx(record["rebuilt"]["slope_measured"], rel=0.1)
    assert record["predicted_slope"] == pytest.approx(0.6 / 3, rel=0.12)


def test_cells_learned_at_one_time_are_not_log_uniform_over_decades() -> None:
    record = found(spread_times(1.45, 1.55))
    assert record["spread_decades"] < 0.4


@pytest.mark.parametrize(("late", "risen"), [(9.0, 6), (3.0, 12)])
def test_cells_that_do_not_rise_or_still_rise_at_the_last_budget_stay_in_as_late(late, risen) -> None:
    times = spread_times(0.5, 2.5, cells=12)
    times[6:] = late
    record = found(times)
    assert record["late"] == 6 * 5
    assert (record["cells"], len(record["by_cell"])) == (12, risen)
    assert all(t is not None for t in record["by_cell"][-1]["x_half"])


def test_cells_learned_before_the_first_budget_are_early() -> None:
    times = spread_times(0.5, 2.5, cells=12)
    times[:3] = -2.0
    record = found(times)
    assert record["early"] == 3 * 5
    assert record["by_cell"][0]["early"] == [True] * 5


def test_the_committed_calibration_meets_its_goals_and_was_made_by_this_code() -> None:
    """Code that changed needs a new one: python scripts/analyze.py action=calibrate, its other sizes 0."""
    found = json.loads(FOUND.read_text())
    assert found["judged_by"] == code_hash(MECHANISM)
    for row in found["learning_times"]:
        assert row["tables"] >= 200
        assert row["ratio"] == pytest.approx(1, abs=0.03)
        assert row["within_tenth"] >= 0.9 * row["identified"]
    assert all(row["tables"] >= 1000 and 0.93 <= row["given"] <= 0.97 for row in found["gamma"])


def test_kaplan_meier_agrees_with_statsmodels() -> None:
    rng = np.random.default_rng(0)
    times, late = rng.integers(0, 12, 60).astype(float), rng.random(60) < 0.4
    at, share = kaplan_meier(Times(times, np.zeros(60, bool), late))
    theirs = SurvfuncRight(times, (~late).astype(int))
    kept = np.isin(theirs.surv_times, at)
    np.testing.assert_allclose(1 - share, theirs.surv_prob[kept])


def test_too_few_times_have_no_spread() -> None:
    none = np.zeros(4, bool)
    assert found(spread_times(0.5, 9.5))["spread_decades"] is None  # a quarter of them observed
    assert log_uniform_spread(Times(np.arange(4.0), none, none)) is None
    assert log_uniform_spread(Times(np.ones(9), np.zeros(9, bool), np.ones(9, bool))) is None
