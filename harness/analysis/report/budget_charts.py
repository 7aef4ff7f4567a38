"""Charts over budgets, each a small function from series to an Altair chart; every row carries its x on every axis."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import polars as pl

from harness.analysis.report.chart_style import (
    Chart,
    accuracy_tooltip,
    arm_channels,
    before_rule,
    budget_x,
    colour_of,
    inline,
    level,
    line_channels,
    only,
    readable,
    tooltip,
)
from harness.analysis.report.curve_series import AXES, Array, Axis, Series
from harness.analysis.stats.laws import evaluate

Fits = Mapping[str, Mapping]
Rows = Callable[[Series, Sequence[Axis]], pl.DataFrame]

LAW_POINTS = 60  # at which a law is drawn
MANY = 4  # arms: of more only the first two show band and seeds, which else cover each other
FEWEST_IN_BAND = 3  # replicates
HIDDEN_FACTOR = 4.0  # the last factor of budgets hidden by the gating extrapolation
HEIGHT = 300
PANEL_HEIGHT = 170


def on_axes(one: Series, axes: Sequence[Axis], **columns: Array | Sequence) -> pl.DataFrame:
    """A row for each budget of the series: its x on each axis that the series has, and these columns."""
    return pl.DataFrame({axis.name: one.axes[axis.name] for axis in axes if axis.name in one.axes} | columns)


def mean_rows(one: Series, axes: Sequence[Axis]) -> pl.DataFrame:
    return on_axes(one, axes, accuracy=one.mean).with_columns(label=pl.lit(one.label))


def band_rows(one: Series, axes: Sequence[Axis]) -> pl.DataFrame:
    """The mean and its 95% interval, as far as accuracies go. No row of fewer than three replicates: the t-interval of
    two is 13 standard errors to a side, and hides the curves."""
    bounds = {name: pl.Series(side).clip(0, 1) for name, side in (("low", one.low), ("high", one.high))}
    rows = mean_rows(one, axes).with_columns(**bounds).drop_nans(["low", "high"])
    return rows if len(one.accuracy) >= FEWEST_IN_BAND else rows.clear()


def seed_rows(one: Series, axes: Sequence[Axis]) -> pl.DataFrame:
    each = [
        on_axes(one, axes, accuracy=values).with_columns(label=pl.lit(one.label), seed=pl.lit(name))
        for name, values in zip(one.seeds, one.accuracy)
    ]
    return pl.concat(each)


def before_rows(one: Series, axes: Sequence[Axis]) -> pl.DataFrame:
    """The mean of the policy before RL, in its place on each axis; no row where it is unknown."""
    row = {axis.name: axis.zero for axis in axes} | {"accuracy": one.start, "label": one.label}
    return pl.DataFrame([row]).drop_nulls("accuracy")


def chart_of(rows: Rows, series: Sequence[Series], axes: Sequence[Axis]) -> alt.Chart:
    return alt.Chart(inline(pl.concat([rows(one, axes) for one in series], how="diagonal")))


def learning_curves(
    series: Sequence[Series], axes: Sequence[Axis], tasks: str, labels: Sequence[str] | None = None
) -> Chart:
    """Mean, 95% band and every seed of each series, with the policy before RL at the left; of more than MANY only the
    first two have band and seeds. A click on an arm in the legend leaves the others pale.

    tasks: names the vertical axis. labels: what the legend lists, by default the series'.
    """
    labels = labels or [one.label for one in series]
    chosen = alt.selection_point(fields=["label"], bind="legend", name=f"chosen_{tasks}")
    spread = series if len(series) <= MANY else series[:2]
    x, y = budget_x(axes[0]), alt.Y("accuracy:Q", title=f"accuracy on {tasks} tasks", scale=alt.Scale(zero=False))
    channels, told = arm_channels(labels), accuracy_tooltip(axes, "label")

    def drawn(rows: Rows, of: Sequence[Series], vertical: alt.Y = y) -> alt.Chart:
        return chart_of(rows, of, axes).encode(x, vertical, channels["color"])

    means, before = drawn(mean_rows, series), drawn(before_rows, series)
    bands = drawn(band_rows, spread, alt.Y("low:Q")).mark_area().encode(alt.Y2("high:Q"), faint(chosen, 0.18))
    seeds = drawn(seed_rows, spread).mark_line(strokeWidth=0.8).encode(faint(chosen, 0.35), detail="seed:N")
    faded = faint(chosen, 1)
    return alt.layer(
        before_rule(axes),
        bands,
        seeds.encode(tooltip=accuracy_tooltip(axes, "label", "seed")),
        means.mark_line(strokeWidth=2.2).encode(faded, channels["strokeDash"]),
        means.mark_point(filled=True, size=45).encode(faded, channels["shape"], tooltip=told).add_params(chosen),
        before.mark_point(size=70, filled=False).encode(faded, channels["shape"], tooltip=told),
    ).properties(height=HEIGHT)


def faint(chosen: alt.Parameter, shown: float) -> alt.Opacity:
    """Opacity `shown` for the arms chosen in the legend, a tenth of it for the others."""
    return alt.Opacity(condition={"param": chosen.name, "value": shown}, value=shown / 10)


def law_fits(one: Series, axes: Sequence[Axis], fits: Fits) -> Chart:
    """The mean curve with every fitted law; the points that extrapolation hides are open."""
    grid = np.geomspace(one.x[0], one.x[-1], LAW_POINTS)
    at = {axis.name: one.on(axis.name, grid) for axis in axes if axis.name in one.axes}
    values = {readable(name): evaluate(name, fit["parameters"], grid) for name, fit in fits.items()}
    laws = alt.Chart(inline(pl.DataFrame(at | values))).transform_fold(list(values), as_=["label", "accuracy"])
    hidden = one.x > one.x[-1] / HIDDEN_FACTOR * (1 + 1e-9)
    measured = mean_rows(one, axes).with_columns(kind=pl.Series(np.where(hidden, "hidden", "measured")))
    before = before_rows(one, axes).with_columns(kind=pl.lit("before RL"))
    points = alt.Chart(inline(pl.concat([measured, before], how="diagonal"))).mark_point(size=60, color=colour_of(0))
    fill = alt.condition("datum.kind == 'measured'", alt.value(colour_of(0)), alt.value("transparent"))
    bars = alt.Chart(inline(band_rows(one, axes))).mark_rule(color=colour_of(0), strokeWidth=1.2)
    x, y = budget_x(axes[0]), alt.Y("accuracy:Q", title="accuracy", scale=alt.Scale(zero=False))
    channels = line_channels(list(values), first=1)
    return alt.layer(
        before_rule(axes),
        laws.mark_line(strokeWidth=1.8).encode(x, y, tooltip="label:N", **channels),
        bars.encode(x, alt.Y("low:Q"), alt.Y2("high:Q")),
        points.encode(x, y, fill=fill, opacity=alt.value(1), tooltip=accuracy_tooltip(axes, "kind")),
    ).properties(height=HEIGHT)


def residuals(one: Series, axes: Sequence[Axis], fits: Fits) -> Chart:
    """Measured mean minus each law at each budget; the constant's residuals are the curve itself, and left out."""
    rows = [
        on_axes(one, axes, residual=one.mean - evaluate(name, fit["parameters"], one.x)).with_columns(
            label=pl.lit(readable(name))
        )
        for name, fit in fits.items()
        if name != "constant"
    ]
    base = alt.Chart(inline(pl.concat(rows))).encode(
        budget_x(axes[0]),
        alt.Y("residual:Q", title="measured − law"),
        tooltip=tooltip("label", residual="+.3f"),
    )
    channels = line_channels([readable(name) for name in fits], first=1)
    return alt.layer(
        level(),
        base.mark_line(strokeWidth=1.5).encode(**channels),
        base.mark_point(filled=True, size=25, opacity=1).encode(**only(channels, "color")),
    ).properties(height=HEIGHT * 2 // 3)


def cell_panel(series: Sequence[Series], axes: Sequence[Axis]) -> Chart:
    """A small multiple: the mean of each cell of one task, without seeds."""
    labels = [one.label for one in series]
    channels = only(arm_channels(labels), "color", "shape")
    x = budget_x(axes[0], titled=False)
    y = alt.Y("accuracy:Q", title=None, scale=alt.Scale(domain=[0, 1]))
    told = accuracy_tooltip(axes, "label")
    means, before = (chart_of(rows, series, axes).encode(x, y) for rows in (mean_rows, before_rows))
    return alt.layer(
        means.mark_line(strokeWidth=1.5).encode(channels["color"]),
        means.mark_point(filled=True, size=18).encode(tooltip=told, **channels),
        before.mark_point(size=28, filled=False, strokeWidth=1.5).encode(tooltip=told, **channels),
    ).properties(height=PANEL_HEIGHT)


def placed(rows: pl.DataFrame, axes: Sequence[Axis]) -> pl.DataFrame:
    """The rows with x on these axes alone, budget 0 in its own place."""
    known = [axis for axis in axes if axis.name in rows.columns]
    x = [pl.when(pl.col(one.name) == 0).then(one.zero).otherwise(one.name).alias(one.name) for one in known]
    return rows.select(*x, ~pl.selectors.by_name(*AXES, "x", require_all=False))


def value_curves(
    rows: pl.DataFrame, axes: Sequence[Axis], channels: Mapping[str, Any], limits: tuple[float, float] | None = None
) -> Chart:
    """A line of `value` for each label; with limits of the vertical axis also a band from `low` to `high`, and the
    place of budget 0 set apart; without, a small multiple."""
    scale = alt.Scale(domain=limits, nice=False) if limits else alt.Scale(zero=False)
    y = alt.Y("value:Q", title=None, scale=scale, axis=alt.Axis(format="~g", tickCount=5))
    x, told = budget_x(axes[0], titled=bool(limits)), tooltip("label", value=".4~g")
    base = alt.Chart(inline(placed(rows, axes))).encode(x, channels["color"], tooltip=told)
    # Clipped: steps before the first budget lie left of where the policy before RL is drawn.
    lines = base.mark_line(strokeWidth=1.8, clip=True).encode(y, channels["strokeDash"])
    points = base.mark_point(filled=True, size=14, clip=True).encode(y)
    if limits is None:
        return alt.layer(lines, points).properties(height=PANEL_HEIGHT)
    band = base.mark_area(opacity=0.16).encode(alt.Y("low:Q", scale=scale, title=None), alt.Y2("high:Q"))
    return alt.layer(before_rule(axes), band, lines, points).properties(height=PANEL_HEIGHT + 20)
