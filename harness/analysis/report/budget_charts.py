"""Charts over budgets, each a small function from series to an Altair chart; every row carries its x on every axis."""

from collections.abc import Mapping, Sequence
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
    horizontal_line,
    inline,
    line_channels,
    only,
    readable,
    tooltip,
)
from harness.analysis.report.curve_series import AXES, Axis, Series
from harness.analysis.stats.laws import evaluate

Fits = Mapping[str, Mapping]

LAW_POINTS = 60  # at which a law is drawn
MANY = 4  # arms: of more only the first two show band and seeds, which else cover each other
ABOVE = pl.col("x") > 0  # rows of budgets, not of the policy before RL
HIDDEN_FACTOR = 4.0  # the last factor of budgets hidden by the gating extrapolation
HEIGHT = 300
PANEL_HEIGHT = 170


def drawn(rows: pl.DataFrame, axes: Sequence[Axis]) -> alt.Chart:
    """A chart of rows with x on these axes alone, budget 0 in its own place."""
    known = [axis for axis in axes if axis.name in rows.columns]
    x = [pl.when(pl.col(one.name) == 0).then(one.zero).otherwise(one.name).alias(one.name) for one in known]
    return alt.Chart(inline(rows.select(*x, ~pl.selectors.by_name(*AXES, "x", require_all=False))))


def mean_rows(series: Sequence[Series]) -> pl.DataFrame:
    return pl.concat([one.rows for one in series], how="diagonal")


def seed_rows(series: Sequence[Series]) -> pl.DataFrame:
    each = [one.runs.join(one.points.select(one.axes), on="x").with_columns(label=pl.lit(one.label)) for one in series]
    return pl.concat(each, how="diagonal")


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
    rows, banded = mean_rows(series).drop("low", "high"), mean_rows(spread).drop_nulls("low")
    means, before, bands, seeds = (
        drawn(part, axes).encode(x, y, channels["color"])
        for part in (rows.filter(ABOVE), rows.filter(~ABOVE), banded, seed_rows(spread))
    )
    bands = bands.mark_area().encode(alt.Y("low:Q"), alt.Y2("high:Q"), faint(chosen, 0.18))
    seeds = seeds.mark_line(strokeWidth=0.8).encode(faint(chosen, 0.35), detail="seed:N")
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
    budgets = one.points["x"].to_numpy()
    grid = np.geomspace(budgets[0], budgets[-1], LAW_POINTS)
    at = {axis.name: one.on(axis.name, grid) for axis in axes if axis.name in one.axes}
    values = {readable(name): evaluate(name, fit["parameters"], grid) for name, fit in fits.items()}
    laws = alt.Chart(inline(pl.DataFrame(at | values))).transform_fold(list(values), as_=["label", "accuracy"])
    hidden = pl.col("x") > budgets[-1] / HIDDEN_FACTOR * (1 + 1e-9)
    kind = pl.when(~ABOVE).then(pl.lit("before RL")).when(hidden).then(pl.lit("hidden")).otherwise(pl.lit("measured"))
    points = drawn(one.rows.with_columns(kind=kind), axes).mark_point(size=60, color=colour_of(0))
    fill = alt.condition("datum.kind == 'measured'", alt.value(colour_of(0)), alt.value("transparent"))
    bars = drawn(one.points.drop_nulls("low"), axes).mark_rule(color=colour_of(0), strokeWidth=1.2)
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
    x, measured = one.points["x"].to_numpy(), one.points["accuracy"].to_numpy()
    rows = [
        one.points.select(
            *one.axes,
            residual=pl.Series(measured - evaluate(name, fit["parameters"], x)),
            label=pl.lit(readable(name)),
        )
        for name, fit in fits.items()
        if name != "constant"
    ]
    base = drawn(pl.concat(rows), axes).encode(
        budget_x(axes[0]),
        alt.Y("residual:Q", title="measured − law"),
        tooltip=tooltip("label", residual="+.3f"),
    )
    channels = line_channels([readable(name) for name in fits], first=1)
    return alt.layer(
        horizontal_line(),
        base.mark_line(strokeWidth=1.5).encode(**channels),
        base.mark_point(filled=True, size=25, opacity=1).encode(**only(channels, "color")),
    ).properties(height=HEIGHT * 2 // 3)


def cell_panel(series: Sequence[Series], axes: Sequence[Axis]) -> Chart:
    """A small multiple: the mean of each cell of one task, without seeds."""
    rows = mean_rows(series).drop("low", "high").rename({"accuracy": "value"})
    return value_curves(rows, axes, line_channels([one.label for one in series]), alt.Scale(domain=[0, 1]))


def value_curves(
    rows: pl.DataFrame, axes: Sequence[Axis], channels: Mapping[str, Any], scale: alt.Scale | None = None
) -> Chart:
    """A line of `value` for each label, budget 0 apart from it: a small multiple, or, of rows with `low` and `high`,
    titled, with a band between them. scale: of the vertical axis."""
    banded, scale = "low" in rows.columns, scale or alt.Scale(zero=False)
    y = alt.Y("value:Q", title=None, scale=scale, axis=alt.Axis(format="~g", tickCount=5))
    x, told = budget_x(axes[0], titled=banded), tooltip("label", value=".4~g")
    base = drawn(rows, axes).encode(x, channels["color"], tooltip=told)
    is_later = alt.datum[axes[0].name] > axes[0].zero * 1.0001
    later, before = base.transform_filter(is_later), base.transform_filter(~is_later)
    # Clipped: steps before the first budget lie left of where the policy before RL is drawn.
    lines = later.mark_line(strokeWidth=1.8, clip=True).encode(y, channels["strokeDash"])
    points = later.mark_point(filled=True, size=14, clip=True).encode(y)
    start = before.mark_point(filled=False, size=28, clip=True).encode(y)
    if not banded:
        return alt.layer(lines, points, start).properties(height=PANEL_HEIGHT)
    ends = (alt.Y("low:Q", scale=scale, title=None), alt.Y2("high:Q"))
    band, spread = later.mark_area(opacity=0.16).encode(*ends), before.mark_rule(opacity=0.5).encode(*ends)
    return alt.layer(before_rule(axes), band, lines, points, spread, start).properties(height=PANEL_HEIGHT + 20)
