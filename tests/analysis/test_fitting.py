"""Laws are recovered from curves drawn from them, and the search is exact where a closed form exists."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis.stats.covariance import MeanCurve, replicate_covariance
from harness.analysis.stats.fitting import fit
from harness.analysis.stats.law_table import law_table
from harness.analysis.stats.laws import LAWS, evaluate

Z = np.linspace(0.0, 3.0, 12)
TRUTHS = {
    "constant": {"R": 0.4},
    "log_linear": {"a": 0.3, "b": 0.08},
    "hill": {"R0": 0.2, "A": 0.75, "B": 1.1, "x_mid": 40.0},
    "saturating_power": {"A": 0.7, "D": 0.4, "B": 0.5},
    "exponential": {"R0": 0.2, "A": 0.6, "tau": 60.0},
    "error_power": {"E": -0.2, "k": 0.1},
    "changepoint": {"low": 0.25, "high": 0.5, "x_begin": 10.0, "x_end": 200.0},
}
AT_ZERO = {"constant": 0.4, "hill": 0.2, "exponential": 0.2, "changepoint": 0.25}


def curve(name: str, replicates: int = 6, sd: float = 0.0, seed: int = 0) -> MeanCurve:
    truth = np.concatenate([[AT_ZERO.get(name, 0.1)], evaluate(name, TRUTHS[name], 10**Z)])
    each = truth + np.random.default_rng(seed).normal(0, sd, (replicates, len(truth)))
    return MeanCurve(Z, each.mean(0), np.eye(len(truth)) * max(sd, 0.003) ** 2 / replicates, each)


@pytest.mark.parametrize("name", TRUTHS)
def test_a_noiseless_law_is_recovered(name: str) -> None:
    found = fit(LAWS[name], curve(name))
    assert found.chi2[0] < 0.1
    for parameter, value in TRUTHS[name].items():
        assert found.parameters()[parameter] == pytest.approx(value, rel=0.03), parameter
    assert not found.at_bound[0]


@pytest.mark.parametrize("name", TRUTHS)
def test_named_parameters_give_the_fitted_curve(name: str) -> None:
    found = fit(LAWS[name], curve(name, sd=0.01))
    np.testing.assert_allclose(evaluate(name, found.parameters(), 10**Z), found.predict(Z)[0], atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_no_shape_beats_the_polished_fit(seed: int) -> None:
    """The polish never ends above what random shapes within the bounds reach."""
    rng = np.random.default_rng(seed)
    mean = curve("hill", sd=0.01, seed=seed)
    law = LAWS["hill"]
    best = fit(law, mean).chi2[0]
    (b_low, b_high), (z_low, z_high) = law.shape_bounds(fit(law, mean).window)
    whiten = np.linalg.inv(np.linalg.cholesky(mean.covariance))
    for _ in range(50):
        log_b, middle = rng.uniform(b_low, b_high), rng.uniform(z_low, z_high)
        share = np.concatenate([[0.0], 1 / (1 + 10 ** (-np.exp(log_b) * (Z - middle)))])
        columns = whiten @ np.stack([1 - share, share], 1)
        levels, *_ = np.linalg.lstsq(columns, whiten @ mean.y, rcond=None)
        if np.all((levels >= 0) & (levels <= 1)):
            assert best <= np.sum((whiten @ mean.y - columns @ levels) ** 2) + 0.01


def test_levels_stay_within_their_bounds_and_the_fit_is_flagged() -> None:
    mean = curve("log_linear")
    steep = MeanCurve(mean.z, mean.y + 0.4 * np.concatenate([[0.0], Z / 3]), mean.covariance, mean.replicates)
    found = fit(LAWS["hill"], steep)
    assert 0 <= found.start[0] <= 1
    assert found.end[0] == pytest.approx(1.0)
    assert found.at_bound[0]


def test_many_curves_at_once_equal_one_by_one() -> None:
    mean = curve("hill", sd=0.02)
    together = fit(LAWS["hill"], mean, mean.replicates)
    for i, each in enumerate(mean.replicates):
        alone = fit(LAWS["hill"], mean, each[None])
        assert together.chi2[i] == pytest.approx(alone.chi2[0])
        assert together.end[i] == pytest.approx(alone.end[0])


def test_pinning_a_parameter_at_its_optimum_changes_nothing() -> None:
    mean = curve("hill", sd=0.01)
    law, found = LAWS["hill"], fit(LAWS["hill"], mean)
    at = {"start": found.start[0], "end": found.end[0], "shape0": found.shape[0, 0], "shape1": found.shape[0, 1]}
    for axis, value in at.items():
        assert fit(law.with_fixed(axis, float(value)), mean).chi2[0] == pytest.approx(found.chi2[0], abs=0.02)
        assert fit(law.with_fixed(axis, float(value) + 0.2), mean).chi2[0] > found.chi2[0] + 1


def test_a_free_start_equals_leaving_its_row_out() -> None:
    mean = curve("log_linear", sd=0.01)
    moved = MeanCurve(mean.z, np.concatenate([[0.9], mean.y[1:]]), mean.covariance, mean.replicates)
    assert fit(LAWS["log_linear"], mean).chi2[0] == pytest.approx(fit(LAWS["log_linear"], moved).chi2[0])
    assert fit(LAWS["hill"], mean).chi2[0] < fit(LAWS["hill"], moved).chi2[0]


def test_an_asymptote_that_the_window_does_not_reach_is_not_identified() -> None:
    early = {"R0": 0.2, "A": 0.9, "B": 1.0, "x_mid": 10**3.6}
    truth = np.concatenate([[0.2], evaluate("hill", early, 10**Z)])
    each = truth + np.random.default_rng(0).normal(0, 0.01, (6, len(truth)))
    mean = MeanCurve(Z, each.mean(0), np.eye(len(truth)) * 0.01**2 / 6, each)
    assert law_table(mean)["hill"]["intervals"]["A"] == "not identified"


def test_intervals_hold_the_planted_parameters() -> None:
    found = law_table(curve("hill", sd=0.01))["hill"]
    for parameter, value in TRUTHS["hill"].items():
        low, high = found["intervals"][parameter]
        assert low < value < high
        assert high - low < value


def test_levels_have_wider_intervals_where_problems_were_drawn() -> None:
    mean = curve("hill", sd=0.01)
    given, drawn = (law_table(mean, variance)["hill"]["intervals"] for variance in (0.0, 0.02**2))
    assert drawn["B"] == given["B"]
    for level in ("R0", "A"):
        assert drawn[level][0] < given[level][0] < given[level][1] < drawn[level][1]
    assert (drawn["A"][1] - drawn["A"][0]) > 2 * 2.5 * 0.02  # t with 5 degrees of freedom is 2.57


def test_aicc_prefers_the_law_that_made_the_curve() -> None:
    for name in ("log_linear", "hill", "exponential"):
        table = law_table(curve(name, sd=0.01, seed=3))
        assert min(table, key=lambda law: table[law]["aicc"]) == name


def test_the_covariance_of_the_scatter_is_recovered() -> None:
    """Intercept, slope and evaluation noise, from many replicates; the truth lies in the model."""
    rng = np.random.default_rng(0)
    n, noise, intercept, slope = 400, 0.01, 0.02, 0.03
    each = rng.normal(0, noise, (n, len(Z))) + rng.normal(0, intercept, (n, 1))
    each += rng.normal(0, slope, (n, 1)) * Z / 3
    truth = np.diag(np.full(len(Z), noise**2)) + intercept**2 + slope**2 * np.outer(Z, Z) / 9
    np.testing.assert_allclose(replicate_covariance(each, np.full(len(Z), noise**2), Z), truth, atol=2.5e-4)


def test_one_replicate_has_its_evaluation_noise_only() -> None:
    np.testing.assert_allclose(replicate_covariance(np.ones((1, 3)), np.full(3, 0.1), np.arange(3.0)), 0.1 * np.eye(3))
