"""Three answers about a curve: does it rise, is it log-linear, what is its shape; and where a line stands."""

import numpy as np
import polars as pl
import pytest

from harness.analysis.calibration.simulate import KINDS, StudyDesign, draw_table
from harness.analysis.data.curves import curves
from harness.analysis.data.options import default_options
from harness.analysis.data.table import check_table
from harness.analysis.stats.covariance import MeanCurve, mean_curve
from harness.analysis.stats.line_tests import goodness_of_fit
from harness.analysis.verdict.decide import widest_line_window
from harness.analysis.verdict.rules import missing_data
from harness.analysis.verdict.verdicts import verdicts

OPTIONS = default_options(bootstraps=60)
Z = np.linspace(0.0, 3.0, 13)


def record_of(kind: str, design: StudyDesign = StudyDesign(), seed: int = 0, **labels: str) -> dict:  # noqa: B008
    frame = draw_table(KINDS[kind], design, np.random.default_rng(seed), **labels)
    return next(r for r in verdicts(check_table(frame), OPTIONS) if r["task"] == "all")


def mean_of(truth: np.ndarray, replicates: int = 8, sd: float = 0.005, seed: int = 0) -> MeanCurve:
    each = truth + np.random.default_rng(seed).normal(0, sd, (replicates, len(truth)))
    both = np.column_stack([np.full(replicates, np.nan), each])
    covariance = np.eye(len(truth) + 1) * sd**2 / replicates
    return MeanCurve(Z, both.mean(0), covariance, both)


@pytest.mark.parametrize(
    ("kind", "rises", "log_linear", "verdict"),
    [
        ("line_steep", "yes", "yes", "log_linear"),
        ("hill_levels_off", "yes", "no", "saturating"),
        ("power_up", "yes", "no", "accelerating"),
        ("changepoint", "yes", "no", "sigmoidal"),
        ("knee", "yes", "no", "not_log_linear"),
        ("hill_shallow", "yes", "undecided", "indistinguishable"),
        ("flat", "no", "no", "flat"),
        ("falling", "no", "no", "declining"),
    ],
)
def test_a_planted_curve_gets_its_three_answers(kind: str, rises: str, log_linear: str, verdict: str) -> None:
    record = record_of(kind)
    assert (record["rises"], record["is_log_linear"], record["verdict"]) == (rises, log_linear, verdict)
    assert f"Does RL raise it: {rises}. Log-linear over this window: {log_linear}" in record["sentences"][2]


def test_too_little_data_answers_nothing() -> None:
    record = record_of("line_steep", StudyDesign(seeds=4))
    assert (record["rises"], record["is_log_linear"]) == ("undecided", "undecided")


def test_a_rise_that_a_control_shows_too_is_undecided() -> None:
    rng = np.random.default_rng(0)
    arms = ("true_reward", "random_reward")
    frame = pl.concat([draw_table(KINDS["line_steep"], StudyDesign(), rng, arm=arm) for arm in arms])
    record = next(r for r in verdicts(check_table(frame), OPTIONS) if r["arm"] == "true_reward" and r["task"] == "all")
    assert record["withheld"]
    assert record["rises"] == "undecided"


def test_the_line_is_rejected_at_its_nominal_rate() -> None:
    rng = np.random.default_rng(0)
    p = [goodness_of_fit(mean_of(0.3 + 0.1 * Z, seed=i), rng, draws=400).p for i in range(300)]
    # The covariance is planted, not estimated, so the multivariate t of the test makes it careful.
    assert np.mean(np.array(p) < 0.05) < 0.06
    assert np.mean(np.array(p) < 0.5) > 0.2


def test_a_curve_with_a_bend_is_rejected_and_its_deviation_measured() -> None:
    fit = goodness_of_fit(mean_of(0.3 + 0.1 * np.maximum(Z - 1, 0)), np.random.default_rng(0))
    assert fit is not None
    assert fit.rejects
    assert fit.deviation == pytest.approx(np.max(np.abs(_rest(np.maximum(Z - 1, 0)))) / 2, abs=0.03)
    small = goodness_of_fit(mean_of(0.3 + 0.1 * Z + 0.004 * Z**2, sd=0.0005), np.random.default_rng(0))
    assert small is not None
    assert small.p < 0.01
    assert not small.rejects  # the deviation does not matter


def _rest(values: np.ndarray) -> np.ndarray:
    return values - np.polyval(np.polyfit(Z, values, 1), Z)


def test_the_widest_line_of_a_bent_curve_is_its_straight_part() -> None:
    bent = 0.25 + 0.15 * np.clip(Z - 0.5, 0, 1.75)
    window = _window_of(bent)
    assert window is not None
    assert window["decades"] == pytest.approx(1.75, abs=0.3)
    assert window["accuracy_first"] == pytest.approx(0.25, abs=0.04)
    assert window["accuracy_last"] == pytest.approx(0.51, abs=0.04)


def test_a_line_stands_over_the_whole_window_and_a_flat_curve_has_no_line() -> None:
    assert _window_of(0.25 + 0.1 * Z)["decades"] == pytest.approx(3.0)
    assert _window_of(np.full(len(Z), 0.4)) is None
    assert _window_of(0.3 + 0.3 * (Z > 1.5)) is None


def _window_of(truth: np.ndarray) -> dict | None:
    rng = np.random.default_rng(0)
    frame = draw_table(KINDS["flat"], StudyDesign(budgets=len(Z), problems=4096), rng)
    mean_by_x = dict(zip(np.concatenate([[0.0], 10.0**Z]).round(6).tolist(), np.concatenate([[truth[0]], truth])))
    level = frame["x"].round(6).replace_strict(mean_by_x, return_dtype=pl.Float64).to_numpy()
    total = (frame["n_problems"] * frame["k"]).to_numpy()
    counts = rng.binomial(total, level)
    c = curves(check_table(frame.with_columns(pl.Series("n_correct", counts)).drop("n_correct_sq")), "true_reward")
    return widest_line_window(c, mean_curve(c), rng)


@pytest.mark.parametrize(
    ("decades", "message"),
    [
        (1.5, "0.5 more decades (has 1.5)"),
        (1.96, "2 decades (has 1.960)"),
        (1.9747, "2 decades (has 1.975)"),
    ],
)
def test_a_near_miss_of_the_window_is_printed_as_it_is(decades: float, message: str) -> None:
    assert missing_data(9, decades, 8, OPTIONS) == [message]


def test_a_window_that_misses_by_the_rounding_of_its_budgets_counts() -> None:
    assert missing_data(9, 1.995, 8, OPTIONS) == []
    assert missing_data(9, 2.0, 8, OPTIONS) == []
