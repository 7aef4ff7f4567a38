"""Where a curve is log-linear: the widest window of at least one decade in which a line stands."""

import numpy as np
from numpy.typing import NDArray

from harness.analysis.data.curves import Curves
from harness.analysis.stats.covariance import MeanCurve
from harness.analysis.stats.goodness_of_fit import DEVIATION_THAT_MATTERS, goodness_of_fit
from harness.analysis.stats.intervals import estimate
from harness.analysis.stats.slopes import slopes
from harness.analysis.verdict.rules import RATIO, ROUNDING

Array = NDArray[np.float64]
MIN_DECADES, MIN_BUDGETS, MIN_SEEDS = 1.0, 4, 5
LEVEL = 0.98  # of the intervals of slopes and contrasts: stricter than in the verdict, since many windows are searched
FITS_ABOVE = 0.05  # p of the goodness-of-fit test


def widest_line_window(curves: Curves, mean: MeanCurve, rng: np.random.Generator) -> dict | None:
    """Decades, range of x and range of accuracy of the widest window in which a rising line stands; None without one.

    A line stands where the slope and all six contrasts b_i - b_j / 2 of the thirds have intervals above 0, the
    goodness-of-fit test does not reject it, and the mean curve deviates from it by at most a tenth of its gain.
    Windows are tried from the widest down; of equally wide ones the first budget decides. How often that names a window
    where the true curve has none is part of the calibration.
    """
    if len(curves.accuracy) < MIN_SEEDS:
        return None
    for first, last in _windows(mean.z):
        if _line_stands(curves, mean, slice(first, last + 1), rng):
            level = curves.accuracy[:, [first, last]].mean(0)
            return {
                "decades": float(mean.z[last] - mean.z[first]),
                "x_first": float(curves.x[first]),
                "x_last": float(curves.x[last]),
                "accuracy_first": float(level[0]),
                "accuracy_last": float(level[1]),
            }
    return None


def _windows(z: Array) -> list[tuple[int, int]]:
    """(first, last) budgets of every window wide enough, the widest first."""
    k = len(z)
    found = [(i, j) for i in range(k) for j in range(i + MIN_BUDGETS - 1, k) if z[j] - z[i] >= MIN_DECADES - ROUNDING]
    return sorted(found, key=lambda ends: (-round(float(z[ends[1]] - z[ends[0]]), 6), ends[0]))


def _line_stands(curves: Curves, mean: MeanCurve, window: slice, rng: np.random.Generator) -> bool:
    s = slopes(mean.z[window], curves.accuracy[:, window])
    contrasts = [s.contrast(i, j, RATIO) for i in range(3) for j in range(3) if i != j]
    if any(e.interval(LEVEL)[0] <= 0 for e in [estimate(s.overall), *contrasts]):
        return False
    line = goodness_of_fit(_part(mean, window), rng)
    return line is not None and line.p >= FITS_ABOVE and line.deviation <= DEVIATION_THAT_MATTERS


def _part(mean: MeanCurve, window: slice) -> MeanCurve:
    """The mean curve at some budgets; budget 0 is left out, since a line is undefined there."""
    rows = np.arange(len(mean.y))[1:][window]
    kept = np.concatenate([[0], rows])
    part = MeanCurve(mean.z[window], mean.y[kept], mean.covariance[np.ix_(kept, kept)], mean.replicates[:, kept])
    part.y[0] = np.nan
    return part
