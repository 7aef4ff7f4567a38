"""The ordered rules (docs/explanation/verdicts.md), applied to one set of curves."""

from dataclasses import dataclass

import numpy as np

from harness.analysis.data.curves import Curves, base_mean_curves
from harness.analysis.data.options import Options
from harness.analysis.stats.covariance import MeanCurve, mean_curve
from harness.analysis.stats.extrapolation import HIDDEN_LAST, extrapolation
from harness.analysis.stats.goodness_of_fit import GoodnessOfFit, goodness_of_fit
from harness.analysis.stats.likelihood_ratio import CURVED, likelihood_ratio_p
from harness.analysis.stats.slopes import slopes
from harness.analysis.verdict.rules import Judgement, judge, missing_data, reject_line


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
