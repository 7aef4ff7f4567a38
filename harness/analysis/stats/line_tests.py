"""Tests of a log-linear claim beyond its slopes: whether a line describes the mean curve, whether curved laws are
rejected against it, and whether it predicts hidden budgets."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from harness.analysis.data.arrays import Array
from harness.analysis.stats.covariance import MeanCurve
from harness.analysis.stats.fitting import fit
from harness.analysis.stats.intervals import Estimate, estimate
from harness.analysis.stats.laws import LAWS
from harness.analysis.stats.slopes import slope_weights

DRAWS = 2000  # simulated curves; a line is refitted to all of them in one product
REJECTED_BELOW = 0.01  # p of the test
DEVIATION_THAT_MATTERS = 0.1  # largest distance from the line, as a share of the gain

CURVED = ("hill", "error_power", "saturating_power", "exponential")
HIDDEN_LAST = np.log10(4.0)  # decades hidden by the gating extrapolation: the last factor of four


@dataclass(frozen=True)
class GoodnessOfFit:
    """chi2 of the line with K - 2 degrees of freedom, its bootstrap p, and the largest distance of the mean curve from
    its least-squares line as a share of the gain (the range of the mean curve)."""

    chi2: float
    p: float
    deviation: float

    @property
    def rejects(self) -> bool:
        """Whether the line is rejected and the deviation matters."""
        return self.p < REJECTED_BELOW and self.deviation > DEVIATION_THAT_MATTERS

    def record(self) -> dict[str, Any]:
        return asdict(self) | {"rejects": self.rejects}


def goodness_of_fit(mean: MeanCurve, rng: np.random.Generator, draws: int = DRAWS) -> GoodnessOfFit | None:
    """The test of the line on a mean curve; None below three budgets or one replicate.

    Curves are simulated about the fitted line from a multivariate t whose degrees of freedom are those of the
    covariance, n - 1, as in likelihood_ratio_p; the line is refitted to each.
    """
    if len(mean.z) < 3 or len(mean.replicates) < 2:
        return None
    chi2 = float(fit(LAWS["log_linear"], mean).chi2[0])
    degrees = len(mean.replicates) - 1
    factor = np.linalg.cholesky(mean.covariance[1:, 1:])
    noise = rng.standard_normal((draws, len(mean.z))) * np.sqrt(degrees / rng.chisquare(degrees, draws))[:, None]
    design = np.linalg.solve(factor, np.column_stack([np.ones_like(mean.z), mean.z]))
    orthogonal, _ = np.linalg.qr(design)
    simulated = np.sum(noise**2, 1) - np.sum((noise @ orthogonal) ** 2, 1)
    p = float((1 + np.sum(simulated >= chi2)) / (draws + 1))
    values = mean.replicates[:, 1:].mean(0)
    gain = float(np.ptp(values))
    rest = values - np.polyval(np.polyfit(mean.z, values, 1), mean.z)
    return GoodnessOfFit(chi2, p, float(np.max(np.abs(rest)) / gain) if gain > 0 else 0.0)


def likelihood_ratio_p(name: str, mean: MeanCurve, simulations: int, rng: np.random.Generator) -> float:
    """p of the law `name` against log_linear: parametric-bootstrap likelihood ratio, simulated from the fitted law.

    The covariance stays frozen. Its estimate has n - 1 degrees of freedom, so each simulated curve is scattered by
    a chi-squared factor with as many (a multivariate t): a normal one would reject too often with few replicates.
    """
    law, line = LAWS[name], LAWS["log_linear"]
    fitted = fit(law, mean)
    observed = fitted.chi2[0] - fit(line, mean).chi2[0]
    if not np.isfinite(observed) or observed <= 0:
        return 1.0
    used = np.isfinite(mean.y)
    centre = np.where(used, 0.0, np.nan)
    at = np.concatenate([[-np.inf], mean.z])
    centre[used] = fitted.predict(at)[0][used]
    if not law.at_zero and used[0]:
        centre[0] = mean.y[0]
    degrees = max(len(mean.replicates) - 1, 1)
    factor = np.linalg.cholesky(mean.covariance[np.ix_(used, used)])
    draws = rng.standard_normal((simulations, int(used.sum()))) @ factor.T
    draws *= np.sqrt(degrees / rng.chisquare(degrees, simulations))[:, None]
    simulated = np.full((simulations, len(used)), np.nan)
    simulated[:, used] = centre[used] + draws
    ratio = fit(law, mean, simulated).chi2 - fit(line, mean, simulated).chi2
    return float((1 + np.sum(ratio >= observed)) / (simulations + 1))


def extrapolation(mean: MeanCurve, hidden_decades: float) -> dict:
    """Hide the last decades, predict them by a line through the rest, and compare with two baselines.

    Errors are root mean squares of the mean curve relative to the gain over the window. Passed, by t over replicates
    at 95%: the line's error at each hidden budget covers 0 (jointly, Bonferroni); the line is nearer to the hidden
    values than the last value; the last slope (of three budgets) is not nearer than the line. A plain comparison
    with the last slope would be decided by noise, since under a true line the two predict nearly the same.
    Keys: hidden, line, last_value, last_slope, covers, beats_last_value, loses_to_last_slope, passed; None where
    fewer than three budgets stay visible.
    """
    z, values = mean.z, mean.replicates[:, 1:]
    seen = z <= z[-1] - hidden_decades + 1e-9
    gain = float(values.mean(0).max() - values.mean(0).min())
    names = ("line", "last_value", "last_slope", "covers", "beats_last_value", "loses_to_last_slope", "passed")
    if seen.sum() < 3 or seen.all() or gain == 0.0:
        return {"hidden": int((~seen).sum()), **dict.fromkeys(names)}
    shown, hidden = z[seen], z[~seen]
    at_last = np.zeros(len(shown))
    at_last[-1] = 1.0
    tail = np.concatenate([np.zeros(len(shown) - 3), slope_weights(shown[-3:])])
    line = 1 / len(shown) + np.outer(hidden - shown.mean(), slope_weights(shown))
    predictions = {
        "line": line,
        "last_value": np.tile(at_last, (len(hidden), 1)),
        "last_slope": at_last + np.outer(hidden - shown[-1], tail),
    }
    errors = {name: values[:, ~seen] - values[:, seen] @ weights.T for name, weights in predictions.items()}
    rms = {name: float(np.sqrt(np.mean(error.mean(0) ** 2)) / gain) for name, error in errors.items()}
    level = 1 - 0.05 / len(hidden)
    intervals = [estimate(column).interval(level) for column in errors["line"].T]
    covers = all(bool(low <= 0 <= high) for low, high in intervals)
    beats = bool(_nearer(errors["line"], errors["last_value"]).interval(0.9)[0] > 0)
    loses = bool(_nearer(errors["line"], errors["last_slope"]).interval(0.9)[1] < 0)
    outcome = {"covers": covers, "beats_last_value": beats, "loses_to_last_slope": loses}
    return {"hidden": len(hidden), **rms, **outcome, "passed": covers and beats and not loses}


def _nearer(error: Array, baseline: Array) -> Estimate:
    """By how much a prediction is nearer to the hidden values than a baseline; errors [n, H], above 0 if nearer.

    Half the difference of the squared errors of the means, written as a quantity linear in each replicate.
    """
    direction = (baseline - error).mean(0)
    return estimate((baseline + error) @ direction / 2)


def held_out_error(name: str, mean: MeanCurve, hidden_decades: float = HIDDEN_LAST) -> float | None:
    """Root mean square error of a law fitted without the last decades, relative to the gain; None if too few stay."""
    cut = mean.z[-1] - hidden_decades
    hidden = mean.z > cut + 1e-9
    seen = mean.at(~hidden)
    means = mean.y[1:]
    gain = float(means.max() - means.min())
    if len(seen.z) <= LAWS[name].n_parameters or not hidden.any() or gain == 0.0:
        return None
    error = means[hidden] - fit(LAWS[name], seen).predict(mean.z[hidden])[0]
    return float(np.sqrt(np.mean(error**2)) / gain)
