"""The ordered rules on noiseless curves, and t-intervals that hold what they promise."""

import numpy as np
import pytest
from scipy import stats

from harness.analysis.calibration.simulate import KINDS
from harness.analysis.stats.intervals import Estimate, estimate, holm, jackknife_t
from harness.analysis.stats.slopes import slopes, thirds
from harness.analysis.verdict.rules import VERDICTS, judge

Z = np.linspace(0.0, 3.0, 10)
MARGIN = 0.03


def judged(curve: np.ndarray, sd: float = 1e-4, n: int = 8) -> str:
    noise = np.random.default_rng(0).normal(0, sd, (n, len(curve)))
    return judge(slopes(Z, curve + noise), MARGIN).verdict


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.truth != "other"])
def test_the_noiseless_curve_of_a_kind_has_the_shape_it_is_labelled_with(name: str) -> None:
    z = np.concatenate([[-np.inf], Z])
    truth = KINDS[name].curve(z, np.random.default_rng(0))[1:]
    assert judged(truth) == KINDS[name].truth


@pytest.mark.parametrize(
    ("curve", "verdict"),
    [
        (0.3 + 0.05 * Z, "log_linear"),
        (0.3 + 0.2 * (1 - np.exp(-Z)), "saturating"),
        (0.3 + 0.01 * Z**3, "accelerating"),
        (0.3 + 0.3 / (1 + 10.0 ** (1.5 - Z)), "sigmoidal"),
        (0.3 + 0.05 * np.maximum(Z - 1, 0), "not_log_linear"),
        (0.4 + 0 * Z, "flat"),
        (0.4 + 0.0099 * Z, "flat"),
        (0.5 - 0.05 * Z, "declining"),
        (0.3 + 0.1 * np.minimum(Z, 2) - 0.1 * np.maximum(Z - 2, 0), "non_monotone"),
        (0.3 + 0.012 * Z, "log_linear"),
    ],
)
def test_a_clean_shape_gets_its_name(curve: np.ndarray, verdict: str) -> None:
    assert judged(curve) == verdict


def test_a_rise_that_begins_flat_and_is_straight_after_is_no_line_and_more_data_would_not_make_it_one() -> None:
    def knee(late: float) -> np.ndarray:
        return 0.3 + 0.01 * np.minimum(Z, 1) + 0.05 * np.clip(Z - 1, 0, 1) + late * np.maximum(Z - 2, 0)

    noise = np.random.default_rng(0).normal(0, 1e-3, (8, len(Z)))
    found = judge(slopes(Z, knee(0.05) + noise), MARGIN)
    assert found.verdict == "not_log_linear"
    assert "this is no line" in found.reason
    assert "b1 - b2/2, b1 - b3/2 below 0" in found.reason
    assert found.undecided == {}
    steepening = judge(slopes(Z, knee(0.078) + 3 * noise), MARGIN)
    assert steepening.verdict == "not_log_linear"
    assert set(steepening.undecided) == {"b3 - 1.5 b2"}  # more data might show acceleration
    wide = judge(slopes(Z, knee(0.05) + 40 * noise), MARGIN)
    assert "is open" in wide.reason


def test_wide_noise_decides_nothing() -> None:
    assert judged(0.3 + 0.05 * Z, sd=0.2) == "indistinguishable"


def test_a_rise_that_may_exceed_the_margin_is_not_flat() -> None:
    assert judged(0.4 + 0 * Z, sd=0.001) == "flat"
    assert judged(0.4 + 0 * Z, sd=0.05) == "indistinguishable"
    for slope in (0.0085, -0.0085):  # one end of the interval beyond the margin is enough
        found = judge(slopes(Z, 0.4 + slope * Z + np.linspace(-0.01, 0.01, 8)[:, None] * Z / 3), MARGIN)
        assert found.verdict != "flat"


def test_thirds_share_their_boundary_budgets() -> None:
    for k in range(4, 30):
        parts = thirds(np.linspace(0, 3, k))
        ends = [(part.start, part.stop - 1) for part in parts]
        assert ends[0][0] == 0
        assert ends[2][1] == k - 1
        assert ends[0][1] == ends[1][0]
        assert ends[1][1] == ends[2][0]
        assert all(last > first for first, last in ends)


def test_slopes_equal_numpys_least_squares() -> None:
    values = np.random.default_rng(0).normal(size=(5, 10))
    found = slopes(Z, values)
    np.testing.assert_allclose(found.overall, np.polyfit(Z, values.T, 1)[0])
    np.testing.assert_allclose(found.thirds[:, 1], np.polyfit(Z[3:7], values[:, 3:7].T, 1)[0])


def test_the_t_interval_has_its_nominal_coverage() -> None:
    rng = np.random.default_rng(0)
    held = [low < 0 < high for low, high in (estimate(rng.normal(size=5)).interval() for _ in range(4000))]
    assert np.mean(held) == pytest.approx(0.95, abs=0.012)


def test_p_values_agree_with_scipy() -> None:
    values = np.random.default_rng(0).normal(0.3, 1, 9)
    e = estimate(values)
    assert e.p_above(0.1) == pytest.approx(stats.ttest_1samp(values, 0.1, alternative="greater").pvalue)
    assert e.p_below(0.1) == pytest.approx(stats.ttest_1samp(values, 0.1, alternative="less").pvalue)
    assert e.p_equivalent(0.5) == pytest.approx(max(e.p_below(0.5), e.p_above(-0.5)))


def test_one_replicate_proves_nothing() -> None:
    single = Estimate(0.5, np.nan, 1)
    assert single.interval() == (-np.inf, np.inf)
    assert single.p_above() == 1.0


def test_the_jackknife_of_a_mean_is_its_t_interval() -> None:
    values = np.random.default_rng(0).normal(size=7)
    left_out = (values.sum() - values) / 6
    assert jackknife_t(values.mean(), left_out) == pytest.approx(estimate(values).interval())


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_every_shape_is_a_verdict_of_the_list() -> None:
    assert {kind.truth for kind in KINDS.values()} - {"other"} <= set(VERDICTS)
    assert set().union(*(kind.right for kind in KINDS.values())) <= set(VERDICTS)
