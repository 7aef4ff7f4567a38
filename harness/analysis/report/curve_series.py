"""What the report draws: pooled curves of an arm on every axis, with budget 0 placed beside a log axis."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from harness.analysis.data.curves import Array, Curves, curves
from harness.analysis.data.table import Table, rows_of
from harness.analysis.data.table_checks import TableError, budget_column
from harness.analysis.stats.formatting import format_power
from harness.analysis.stats.intervals import estimate

# Axes beside x itself, with their titles, in the order offered.
AXES = {
    "step": "RL steps",
    "completions": "RL completions",
    "tokens": "RL tokens",
    "flops_convention": "RL FLOPs by convention",
    "flops": "RL FLOPs as spent",
    "seconds": "seconds of RL",
}
GAP = 0.12  # of the log range: how far left of the first budget the policy before RL is drawn
FEWEST_IN_BAND = 3  # replicates: the t-interval of two is 13 standard errors to a side, and hides the curves


@dataclass(frozen=True)
class Series:
    """One arm pooled over some tasks.

    points: a row for each budget above 0: x on each axis ("x" among them, each increasing), accuracy (the mean over
    replicates), low and high (its 95% t-interval as far as accuracies go; null for fewer than three). runs: seed (a
    label), x and accuracy of each replicate at each budget, 0 among them where it was evaluated.
    """

    label: str
    arm: str
    points: pl.DataFrame
    runs: pl.DataFrame
    size: int | None = None  # parameters, where the table has several

    @property
    def axes(self) -> list[str]:
        return [name for name in ("x", *AXES) if name in self.points.columns]

    @property
    def start(self) -> float | None:
        """The mean accuracy before RL; None where it is unknown."""
        before = self.runs.filter(x=0)["accuracy"].to_numpy()
        return float(before.mean()) if len(before) else None

    @property
    def rows(self) -> pl.DataFrame:
        """The points with their label, below the mean before RL where that is known, which is 0 on every axis."""
        before = pl.DataFrame([dict.fromkeys(self.axes, 0.0) | {"accuracy": self.start}]).drop_nulls()
        return pl.concat([before, self.points], how="diagonal_relaxed").with_columns(label=pl.lit(self.label))

    def on(self, axis: str, x: Array) -> Array:
        """Budgets x [M] on another axis: linear in logs between this arm's budgets, and beyond them."""
        if axis == "x" or len(self.points) < 2:
            return np.asarray(x) if axis == "x" else np.full(len(x), self.points[axis][0])
        z, w, at = np.log(self.points["x"].to_numpy()), np.log(self.points[axis].to_numpy()), np.log(x)
        k = np.clip(np.searchsorted(z, at) - 1, 0, len(z) - 2)
        return np.exp(w[k] + (at - z[k]) * (w[k + 1] - w[k]) / (z[k + 1] - z[k]))


@dataclass(frozen=True)
class Axis:
    """A log axis with a place for budget 0: zero and gap are positions left of the first budget."""

    name: str
    title: str
    zero: float
    gap: float
    range: tuple[float, float]  # log10
    ticks: tuple[tuple[float, str], ...]


def arm_series(
    table: Table, arm: str, tasks: Sequence[str], size: int | None = None, label: str | None = None
) -> Series | None:
    """The arm pooled over tasks; None where it was not evaluated on them above budget 0."""
    own = [task for task in table.tasks(arm) if task in tasks]
    if not own:
        return None
    try:
        c = curves(table, arm, own, size=size)
    except TableError:  # evaluated before RL only: nothing to draw over budgets
        return None
    return series_of(table, c, size, label or arm)


def series_of(table: Table, c: Curves, size: int | None, label: str) -> Series:
    """A series of pooled curves, with the table's other axes at their budgets."""
    low, high = np.array([estimate(column).interval() for column in c.accuracy.T]).T
    known = pl.lit(len(c.accuracy) >= FEWEST_IN_BAND)
    points = pl.DataFrame(_axes(table, c, size) | {"accuracy": c.accuracy.mean(0), "low": low, "high": high})
    points = points.with_columns(pl.when(known).then(pl.col("low", "high").clip(0, 1)))
    bases = len(set(c.bases)) > 1
    seeds = [f"{base}, seed {seed}" if bases else f"seed {seed}" for base, seed in zip(c.bases, c.seeds)]
    x, values = [0.0, *c.x], np.column_stack([c.r0, c.accuracy])
    runs = [pl.DataFrame({"x": x, "accuracy": own}).with_columns(seed=pl.lit(seed)) for seed, own in zip(seeds, values)]
    return Series(label, c.arm, points, pl.concat(runs).drop_nans("accuracy"), size)


def _axes(table: Table, c: Curves, size: int | None) -> dict[str, Array]:
    """The axes that the table gives for every budget of the curves; an arm that spends nothing keeps only x."""
    rows = rows_of(table, c.arm, size=size)
    key = budget_column(rows)
    names = [name for name in AXES if name in rows.columns]
    wanted = [pl.col(name).cast(pl.Float64).mean().alias(f"on_{name}") for name in names]
    means = rows.filter(pl.col("x") > 0).group_by(key).agg(pl.col("x").mean().alias("mean_x"), *wanted).sort("mean_x")
    at = [int(np.argmin(np.abs(np.log(means["mean_x"].to_numpy() / x)))) for x in c.x]
    found = {"x": c.x}
    for name in names:
        values = means[f"on_{name}"].fill_null(np.nan).to_numpy()[at]
        if np.isfinite(values).all() and (values > 0).all() and (np.diff(values) > 0).all():
            found[name] = values
    return found


def fill_missing_axes(series: Sequence[Series]) -> list[Series]:
    """The series with axes that they lack (a frozen policy spends no FLOPs) taken at the budgets of the first of their
    size."""

    def whole(one: Series) -> Series:
        first = next(other for other in series if other.size == one.size)
        lender = first if first.arm == series[0].arm else series[0]
        lent = {name: lender.on(name, one.points["x"].to_numpy()) for name in lender.axes if name not in one.axes}
        return replace(one, points=one.points.with_columns(**{name: pl.Series(x) for name, x in lent.items()}))

    return [whole(one) for one in series]


def shared_axes(series: Sequence[Series]) -> list[Axis]:
    """The axes that the real arm's series (the first) has, x first unless another axis is the same numbers.

    Ranges cover every series, so that figures on one page share them.
    """
    if not series:
        return []
    first = series[0]
    same = [name for name in AXES if name in first.axes and np.allclose(first.points[name], first.points["x"])]
    names = [*same[:1], *(name for name in AXES if name in first.axes and name not in same)]
    names = names if same else ["x", *names]
    return [log_axis(name, [one.points[name].to_numpy() for one in series if name in one.axes]) for name in names]


def log_axis(name: str, values: Sequence[Array]) -> Axis:
    """An axis that covers all values [*] > 0."""
    low, high = np.log10(min(v.min() for v in values)), np.log10(max(v.max() for v in values))
    width = max(high - low, 0.5)
    zero, gap = low - GAP * width, low - GAP * width / 2
    ticks = ((float(10**zero), "0"), *((10.0**t, tick_label(t)) for t in _tick_places(low, high)))
    return Axis(
        name,
        AXES.get(name, "x, the budget"),
        float(10**zero),
        float(10**gap),
        (float(zero - 0.04 * width), float(high + 0.04 * width)),
        ticks,
    )


def _tick_places(low: float, high: float) -> list[float]:
    """log10 of tick places: powers of ten, thinned to at most seven, with 2 and 5 between where there are few."""
    powers = np.arange(np.ceil(low - 1e-9), np.floor(high + 1e-9) + 1)
    if len(powers) >= 2:
        return [float(p) for p in powers[:: int(np.ceil(len(powers) / 7))]]
    fine = np.log10(np.outer(10.0 ** np.arange(np.floor(low), np.ceil(high) + 1), (1, 2, 5)).ravel())
    return [float(p) for p in fine if low - 1e-9 <= p <= high + 1e-9] or [low]


def tick_label(exponent: float) -> str:
    """A tick's text: 1, 20, 500, 1k, 10¹²."""
    value = 10.0**exponent
    if value > 999_999:
        return format_power(value)
    return f"{value / 1000:g}k" if value > 999.999 else f"{value:.3g}"
