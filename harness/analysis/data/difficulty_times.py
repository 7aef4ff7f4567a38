"""The budget at which a difficulty is solved, and gamma of its growth with difficulty, T = T_1 D^gamma (arXiv
2605.06638)."""

import numpy as np
import polars as pl
from scipy.optimize import isotonic_regression

from harness.analysis.data.arrays import Array
from harness.analysis.data.crossing import crossing

THRESHOLD = 0.5  # accuracy at which a difficulty counts as solved
FEWEST_DIFFICULTIES = 3


def threshold_times(z: Array, accuracy: Array) -> Array:
    """[n] z at which each row of accuracy [n, K], made monotone, reaches the threshold; NaN if before the first z or
    not within them."""
    found = np.array([crossing(z, isotonic_regression(row).x, THRESHOLD) for row in accuracy])
    return np.where(np.isfinite(found), found, np.nan)


def gamma(times: Array, difficulties: Array) -> Array:
    """[n] least-squares slope of log10 times [n, D] on log10 difficulties [D]."""
    z = np.log10(difficulties) - np.log10(difficulties).mean()
    return times @ (z / np.sum(z**2))


def is_difficulty(text: str) -> bool:
    """Whether it is a positive number, which can stand on a log axis."""
    return text.replace(".", "", 1).isdigit() and float(text) > 0


def difficulty_exponents(rows: pl.DataFrame) -> pl.DataFrame:
    """gamma by (base, seed) as `value`: least squares of log10 x at the threshold on log10 difficulty, over the
    difficulties solved within the budgets above 0; no row where these are fewer than three.

    rows: base, seed, difficulty, x and value, the accuracy of a cell; cells of one difficulty count alike."""
    numeric = rows.filter(
        pl.col("x") > 0, pl.Series(map(is_difficulty, rows["difficulty"].cast(pl.String)), dtype=pl.Boolean)
    )
    curves = numeric.group_by("base", "seed", "difficulty", "x").agg(pl.col("value").mean()).sort("x")
    found = []
    for (base, seed), own in curves.group_by("base", "seed", maintain_order=True):
        times = [
            (float(d), threshold_times(np.log10(each["x"].to_numpy()), each["value"].to_numpy()[None])[0])
            for (d,), each in own.group_by("difficulty")
        ]
        d, t = np.array([pair for pair in times if np.isfinite(pair[1])]).reshape(-1, 2).T
        if len(d) >= FEWEST_DIFFICULTIES:
            found.append((base, seed, float(gamma(t, d))))
    schema = {"base": rows.schema["base"], "seed": rows.schema["seed"], "value": pl.Float64}
    return pl.DataFrame(found, schema, orient="row")
