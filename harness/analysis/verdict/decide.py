"""The ordered rules (docs/explanation/verdicts.md), applied to one set of curves; and where a curve is log-linear: the
widest window of at least one decade in which a line stands."""

from dataclasses import dataclass

import numpy as np

from harness.analysis.data.arrays import Array
from harness.analysis.data.curves import Curves, base_mean_curves
from harness.analysis.data.options import Options
from harness.analysis.stats.covariance import MeanCurve, mean_curve
from harness.analysis.stats.intervals import estimate
from harness.analysis.stats.line_tests import (
    CURVED,
    DEVIATION_THAT_MATTERS,
    HIDDEN_LAST,
    GoodnessOfFit,
    extrapolation,
    goodness_of_fit,
    likelihood_ratio_p,
)
from harness.analysis.stats.slopes import slopes
from harness.analysis.verdict.rules import RATIO, ROUNDING, Judgement, judge, missing_data, reject_line

MIN_DECADES, MIN_BUDGETS, MIN_SEEDS = 1.0, 4, 5
LEVEL = 0.98  # of the intervals of slopes and contrasts: stricter than in the verdict, since many windows are searched
FITS_ABOVE = 0.05  # p of the goodness-of-fit test


@dataclass(frozen=True)
class Decision:
    """A judgement with the evidence that only a candidate line needs.

    rejections: curved law -> p (empty where an earlier rule decided). line: how well a line fits, None with too little
    data.
    """

    judgement: Judgement
    rejections: dict[str, float]
    line: GoodnessOfFit | None

    @property
    def laws_not_rejected(self) -> list[str]:
        """Curved laws that could not be rejected at 5%."""
        return [name for name, p in self.rejections.items() if p >= 0.05]


def decide(curves: Curves, options: Options, rng: np.random.Generator) -> Decision:
    """The verdict on one set of curves; rng draws the parametric bootstrap."""
    if lacks := missing_data(len(curves.x), curves.decades, len(curves.accuracy), options):
        reason = f"too little data: a verdict needs {', '.join(lacks)}"
        return Decision(Judgement("insufficient_data", 0, reason, 1.0, {}), {}, None)
    clustered = base_mean_curves(curves, options.min_bases)
    mean = mean_curve(clustered)
    line = goodness_of_fit(mean, rng.spawn(1)[0])  # a stream of its own: the tests below draw as they always did
    found, rejections = judge(slopes(np.log10(curves.x), clustered.accuracy), options.margin), {}
    if found.verdict == "log_linear":
        rejections = {name: likelihood_ratio_p(name, mean, options.bootstraps, rng) for name in CURVED}
        found = _gate(found, mean, rejections)
    return Decision(reject_line(found, line), rejections, line)


def extrapolations(mean: MeanCurve) -> dict[str, dict]:
    """Held-out prediction two ways: the last factor of four (which gates log_linear), the top half of the log range."""
    half = float(mean.z[-1] - mean.z[0]) / 2
    return {"last_4x": extrapolation(mean, HIDDEN_LAST), "top_half": extrapolation(mean, half)}


def _gate(found: Judgement, mean: MeanCurve, rejections: dict[str, float]) -> Judgement:
    """Rule 6's rejections and the gating extrapolation."""
    left = [f"{name} (p {p:.2f})" for name, p in rejections.items() if p >= 0.05]
    if left:
        why = "" if mean.has_zero else " (budget 0 was not evaluated for every replicate, which leaves R0 free)"
        return Judgement("indistinguishable", 7, f"a line fits, but so does {', '.join(left)}{why}", 1.0, {})
    if not extrapolation(mean, HIDDEN_LAST)["passed"]:
        reason = "a line fits, but fails to predict the hidden last factor of four (against baselines, within range)"
        return Judgement("indistinguishable", 7, reason, 1.0, {})
    worst = max(rejections.values())
    reason = f"{found.reason}, every curved law is rejected (p at most {worst:.3f}) and hidden budgets are predicted"
    return Judgement("log_linear", 6, reason, max(found.p, worst), {})


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
    line = goodness_of_fit(mean.at(window), rng)
    return line is not None and line.p >= FITS_ABOVE and line.deviation <= DEVIATION_THAT_MATTERS
