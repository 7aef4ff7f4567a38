"""Every law fitted to one curve, with intervals, or marked as not identified. For display: laws
explain, they do not name the verdict."""

from collections.abc import Callable

import numpy as np
from scipy import special, stats

from harness.analysis.stats.covariance import MeanCurve
from harness.analysis.stats.fitting import Fits, fit
from harness.analysis.stats.intervals import estimate, jackknife_t
from harness.analysis.stats.laws import LAWS
from harness.analysis.stats.line_tests import held_out_error
from harness.analysis.stats.slopes import slope_weights

PROFILE_RISE = 3.84  # rise of chi2 on both sides of the optimum that closes a profile (95%, one parameter)
UNIT_PARAMETERS = {"R", "R0", "A", "low", "high"}  # parameters that live between 0 and 1; the others are positive

Scale = tuple[Callable[[float], float], Callable[[float], float]]


def law_table(mean: MeanCurve, problem_variance: float = 0.0) -> dict[str, dict]:
    """name -> parameters, intervals ([low, high] or "not identified"), chi2, aicc, at_bound, converged,
    held_out_error, fitted [K]. Laws with no fewer parameters than budgets are left out.

    aicc counts budgets as observations and mean parameters, a free R0 among them; constants common to all laws are
    dropped, so only differences mean anything. problem_variance: of the mean accuracy, from having drawn these
    problems.
    """
    table = {}
    n = len(mean.z) + mean.has_zero
    for name, law in LAWS.items():
        k = law.n_parameters + (mean.has_zero and not law.at_zero)
        if len(mean.z) <= law.n_parameters or n - k - 1 <= 0:
            continue
        fitted = fit(law, mean)
        table[name] = {
            "parameters": fitted.parameters(),
            "intervals": intervals(fitted, mean, problem_variance),
            "chi2": float(fitted.chi2[0]),
            "aicc": float(fitted.chi2[0] + 2 * k + 2 * k * (k + 1) / (n - k - 1)),
            "at_bound": bool(fitted.at_bound[0]),
            "converged": bool(fitted.converged[0]),
            "held_out_error": held_out_error(name, mean),
            "fitted": fitted.predict(mean.z)[0].tolist(),
        }
    return table


def share_of_gain(mean: MeanCurve, laws: dict[str, dict]) -> float | None:
    """Share of the hill law's gain A - R0 that lies in the window; None where A is not identified."""
    hill = laws.get("hill")
    if hill is None or hill["intervals"]["A"] == "not identified":
        return None
    gain = hill["parameters"]["A"] - hill["parameters"]["R0"]
    return float((hill["fitted"][-1] - hill["fitted"][0]) / gain) if gain > 0 else None


def intervals(fitted: Fits, mean: MeanCurve, problem_variance: float) -> dict[str, list[float] | str]:
    """Intervals of a law's parameters, [low, high] or "not identified".

    t over replicates for the line; delete-one-replicate jackknife-t on logit or log scale for the rest, levels with
    the variance of having drawn these problems added, since replicates share them."""
    if len(mean.replicates) < 3:
        return dict.fromkeys(fitted.parameters(), "not identified")
    if fitted.law.name == "log_linear":
        slope = mean.replicates[:, 1:] @ slope_weights(mean.z)
        both = {"a": mean.replicates[:, 1:].mean(1) - slope * mean.z.mean(), "b": slope}
        return {name: list(estimate(each).interval()) for name, each in both.items()}
    total = mean.replicates.sum(0)
    left_out = fit(fitted.law, mean, (total - mean.replicates) / (len(mean.replicates) - 1))
    closed = _closed(fitted, mean)
    rows = [left_out.parameters(i) for i in range(len(mean.replicates))]
    found: dict[str, list[float] | str] = {}
    for name, value in fitted.parameters().items():
        there, back = _scale(name)
        whole, others = there(value), np.array([there(row[name]) for row in rows])
        if not closed.get(name, all(closed.values())) or not np.isfinite(whole) or not np.isfinite(others).all():
            found[name] = "not identified"
        else:
            shared = np.sqrt(problem_variance) / (value * (1 - value)) if name in UNIT_PARAMETERS else 0.0
            found[name] = [back(end) for end in _widened(jackknife_t(whole, others), shared, len(others))]
    return found


def _widened(interval: tuple[float, float], shared_error: float, n: int) -> tuple[float, float]:
    """A t-interval over n replicates with a standard error added that all replicates share."""
    middle, half = (interval[0] + interval[1]) / 2, (interval[1] - interval[0]) / 2
    wider = float(np.hypot(half, stats.t.ppf(0.975, n - 1) * shared_error))
    return middle - wider, middle + wider


def _scale(name: str) -> Scale:
    if name in UNIT_PARAMETERS:
        return (lambda v: float(special.logit(v))), (lambda v: float(special.expit(v)))
    if name == "E":
        return float, float
    return (lambda v: float(np.log(v)) if v > 0 else -np.inf), (lambda v: float(np.exp(np.clip(v, -700, 700))))


def _closed(fitted: Fits, mean: MeanCurve) -> dict[str, bool]:
    """Whether chi2 rises by 3.84 on both sides of each parameter's optimum, the others refitted."""
    law = fitted.law
    shapes = law.shape_bounds(fitted.window)
    edges = {"start": (0.0, 1.0), "end": (0.0, 1.0), "shape0": shapes[0], "shape1": shapes[1]}
    return {
        name: all(fit(law.with_fixed(axis, edge), mean).chi2[0] - fitted.chi2[0] > PROFILE_RISE for edge in edges[axis])
        for name, axis in law.axes.items()
    }
