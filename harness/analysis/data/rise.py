"""Over how many decades of training a curve rises, from a tenth to nine tenths of its rise."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from scipy.optimize import isotonic_regression

from harness.analysis.data.crossing import crossing

LOW, HIGH = 0.1, 0.9  # shares of a rise


def rise(x: Sequence[float], values: Sequence[float], best: float) -> dict[str, float | None]:
    """x_low and x_high, where the running maximum of values at ascending x passes the LOW and the HIGH share of its
    rise from the first of them to `best`, linear in log10 x, and the decades between; None where that is before the
    first budget above 0 or after the last."""
    start, highest, above = values[0], np.maximum.accumulate(values), np.asarray(x) > 0
    z = np.log10(np.asarray(x)[above])
    ends = [crossing(z, highest[above], start + share * (best - start)) for share in (LOW, HIGH)]
    low, high = (float(10**end) if np.isfinite(end) else None for end in ends)
    decades = None if low is None or high is None else float(np.log10(high / low))
    return {"x_low": low, "x_high": high, "decades": decades}


def rise_decades(rows: pl.DataFrame, end: float | None = None) -> pl.DataFrame:
    """Decades of x between the LOW and the HIGH share of a rise of accuracy to `end` (None: to the highest seen), by
    (base, seed) as `value`; no row where the budgets hold no such rise.

    rows: base, seed, x and value, the accuracy of a cell; cells count alike, and the mean curve is made monotone."""
    curves = rows.group_by("base", "seed", "x").agg(pl.col("value").mean()).sort("x")
    found = []
    for (base, seed), own in curves.group_by("base", "seed", maintain_order=True):
        values = isotonic_regression(own["value"].to_numpy()).x
        best = values[-1] if end is None else end
        decades = rise(own["x"].to_list(), values, best)["decades"] if best > values[0] else None
        if decades is not None:
            found.append((base, seed, decades))
    schema = {"base": rows.schema["base"], "seed": rows.schema["seed"], "value": pl.Float64}
    return pl.DataFrame(found, schema, orient="row")
