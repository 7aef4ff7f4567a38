"""Held-out prediction: hide the last decades of a curve, predict them, and compare with baselines."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.analysis.stats.covariance import MeanCurve
from harness.analysis.stats.fitting import fit
from harness.analysis.stats.intervals import Estimate, estimate
from harness.analysis.stats.laws import LAWS
from harness.analysis.stats.slopes import slope_weights

Array = NDArray[np.float64]


HIDDEN_LAST = np.log10(4.0)  # decades hidden by the gating extrapolation: the last factor of four


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
    covers = all(bool(low <= 0 <= high) for low, high in (e.interval(level) for e in _columns(errors["line"])))
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
    seen = mean.truncated_at(cut)
    hidden = mean.z > cut + 1e-9
    means = mean.y[1:]
    gain = float(means.max() - means.min())
    if len(seen.z) <= LAWS[name].n_parameters or not hidden.any() or gain == 0.0:
        return None
    error = means[hidden] - fit(LAWS[name], seen).predict(mean.z[hidden])[0]
    return float(np.sqrt(np.mean(error**2)) / gain)


def _columns(values: Array) -> Sequence[Estimate]:
    return [estimate(values[:, i]) for i in range(values.shape[1])]
