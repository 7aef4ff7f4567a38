"""A rising curve beside its control arms, and when that withholds a claim."""

from collections.abc import Mapping

import numpy as np

from harness.analysis.data.curves import Curves
from harness.analysis.stats.intervals import Estimate, estimate
from harness.analysis.stats.slopes import Slopes, slopes

RISE_CLAIMS = ("log_linear", "saturating", "accelerating", "sigmoidal")  # verdicts that claim a rise


def compare_with_controls(arm: Curves, controls: Mapping[str, Curves]) -> tuple[dict[str, dict], list[str]]:
    """Per control its rise and the arm's slope minus its; and the reasons to withhold a claim, if any.

    Slopes are paired by (base, seed) where both have it. Withhold where the difference is not above 0, or where the
    control itself rises significantly by more than a quarter of the arm's rise.
    """
    own = slopes(np.log10(arm.x), arm.accuracy)
    found, reasons = {}, []
    for name, control in controls.items():
        theirs = slopes(np.log10(control.x), control.accuracy)
        difference = slope_difference(arm, own, control, theirs)
        low, high = difference.interval()
        rise = theirs.rise
        found[name] = {
            "slope_difference": difference.mean,
            "slope_difference_ci": [low, high],
            "rise": rise.mean,
            "rise_ci": list(rise.interval()),
        }
        if low <= 0:
            reasons.append(f"its slope is not above that of {name} (difference {low:.3f} to {high:.3f} a decade)")
        if rise.interval()[0] > 0 and rise.mean > 0.25 * own.rise.mean:
            reasons.append(f"the control {name} rises too, by {rise.mean:.3f}")
    return found, reasons


def slope_difference(arm: Curves, own: Slopes, control: Curves, theirs: Slopes) -> Estimate:
    """Arm minus control slope: paired replicates if at least two are shared, else Welch with the smaller n."""
    places = {unit: i for i, unit in enumerate(zip(control.bases, control.seeds))}
    pairs = [(i, places[unit]) for i, unit in enumerate(zip(arm.bases, arm.seeds)) if unit in places]
    if len(pairs) >= 2:
        mine, other = (list(side) for side in zip(*pairs))
        return estimate(own.overall[mine] - theirs.overall[other])
    a, b = estimate(own.overall), estimate(theirs.overall)
    n = min(a.n, b.n)
    return Estimate(a.mean - b.mean, float(np.hypot(a.error, b.error) * np.sqrt(n)), n)
