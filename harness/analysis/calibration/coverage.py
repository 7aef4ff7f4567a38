"""How often 95% intervals hold the truth."""

import numpy as np

from harness.analysis.calibration.draws import Draw, draw_tables
from harness.analysis.calibration.simulate import KINDS, StudyDesign, problem_success
from harness.analysis.stats.covariance import mean_curve
from harness.analysis.stats.intervals import estimate
from harness.analysis.stats.law_table import law_intervals
from harness.analysis.stats.slopes import slope_weights, slopes

HILL = {"A": 0.7, "B": 1.2}  # of the kind hill_levels_off


def coverage(n: int, seed: int) -> list[dict]:
    """How often 95% intervals hold the truth: slopes of three kinds, and the hill's A and B by jackknife-t.

    The truth is the true curve, the mean over all possible problems; `given the problems` is the same for
    the problems that were drawn. Intervals over seeds promise the second.
    """
    rows = []
    for case, (name, seeds) in enumerate((k, s) for k in ("line", "hill_levels_off", "flat") for s in (5, 8, 16)):
        held: dict[str, list[bool]] = {}
        for drawn in draw_tables(KINDS[name], StudyDesign(seeds=seeds), n, (seed, 1, case)):
            for quantity, inside in _covered(name, drawn).items():
                held.setdefault(quantity, []).append(inside)
        for quantity, inside in held.items():
            row = {"kind": name, "seeds": seeds, "quantity": quantity, "tables": n, "identified": len(inside)}
            rows.append(row | {"covered": float(np.mean(inside))})
            print(rows[-1], flush=True)
    return rows


def _covered(name: str, drawn: Draw) -> dict[str, bool]:
    """Whether each interval of one table holds its truth; intervals that are not identified are left out."""
    c, sd = drawn.curves, StudyDesign().problem_sd
    z = np.log10(c.x)
    weights = slope_weights(z)
    low, high = estimate(slopes(z, c.accuracy).overall).interval()
    here = problem_success(drawn.truth, drawn.effects, sd).mean(1)
    held = {
        "slope": bool(low <= float(np.dot(drawn.truth, weights)) <= high),
        "slope, given the problems": bool(low <= float(np.dot(here, weights)) <= high),
    }
    if name != "hill_levels_off":
        return held
    intervals = law_intervals("hill", mean_curve(c), float(c.problem_noise.mean()))
    a_here = float(problem_success(np.array([HILL["A"]]), drawn.effects, sd).mean())
    for quantity, parameter, value in (
        ("A", "A", HILL["A"]),
        ("A, given the problems", "A", a_here),
        ("B", "B", HILL["B"]),
    ):
        own = intervals[parameter]
        if not isinstance(own, str):
            held[quantity] = own[0] <= value <= own[1]
    return held
