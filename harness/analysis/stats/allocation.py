"""Where the next FLOP should go: the gain of each decade of RL that was measured, and of the next."""

from typing import Any

import numpy as np

from harness.analysis.data.curves import Curves, base_mean_curves, curves, has_budgets
from harness.analysis.data.options import Options
from harness.analysis.data.table import Table
from harness.analysis.stats.contrasts import mean_record
from harness.analysis.stats.covariance import mean_curve
from harness.analysis.stats.fitting import fit
from harness.analysis.stats.intervals import jackknife_t
from harness.analysis.stats.laws import LAWS

FEWEST = 3  # replicates to resample


def allocation(table: Table, options: Options) -> dict[str, Any]:
    """`marginal_gain` of the real arm by role, as strict JSON."""
    real = options.real_arm
    largest = table.sizes(real)[-1] if real in table.arms else None
    roles = [role for role in ("verified", "unverified") if has_budgets(table, real, table.tasks(real, role), largest)]
    gains = {role: marginal_gain(curves(table, real, role=role, size=largest), options) for role in roles}
    return {"marginal_gain": gains}


def marginal_gain(c: Curves, options: Options) -> dict[str, Any]:
    """Gain of each measured decade of x, from the top down, and the gain that each law predicts for the next.

    Measured: accuracy interpolated in log x, t over replicates. Predicted: jackknife-t over replicates; the laws'
    spread is the uncertainty, since fitting singles out no law.
    """
    c = base_mean_curves(c, options.min_bases)
    z, decades = np.log10(c.x), []
    for top in z[-1] - np.arange(int(np.floor(c.decades + 1e-9))):
        ends = [np.array([np.interp(at, z, row) for row in c.accuracy]) for at in (top, top - 1)]
        gain = mean_record(ends[0] - ends[1])
        decades.append({"from": float(10 ** (top - 1)), "to": float(10**top), "gain": gain})
    return {"measured": decades, "next_decade": _next_decade(c)}


def _next_decade(c: Curves) -> dict[str, dict[str, Any]]:
    """R(10 x_last) - R(x_last) by each law with fewer parameters than budgets."""
    mean = mean_curve(c)
    n, ends = len(c.accuracy), np.log10(c.x[-1]) + np.array([0.0, 1.0])
    predicted = {}
    for name, law in LAWS.items():
        if len(mean.z) <= law.n_parameters + 1 or name == "constant":
            continue
        whole = float(np.diff(fit(law, mean).predict(ends)[0])[0])
        predicted[name] = {"gain": whole, "low": None, "high": None}
        if n < FEWEST:
            continue
        left_out = (mean.replicates.sum(axis=0) - mean.replicates) / (n - 1)
        low, high = jackknife_t(whole, np.diff(fit(law, mean, left_out).predict(ends), axis=1)[:, 0])
        # Where a law bends sharply the pseudo-values can miss the estimate itself: then they bound nothing.
        if low <= whole <= high:
            predicted[name] |= {"low": float(low), "high": float(high)}
    return predicted
