"""Charts over budgets, each a small function from series to an Altair chart; every row carries its x on every axis."""

from collections.abc import Mapping, Sequence

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
)
from harness.analysis.report.curve_series import Array, Axis, Series
from harness.analysis.stats.laws import evaluate

Fits = Mapping[str, Mapping]

LAW_POINTS = 60  # at which a law is drawn
MANY = 4  # arms: of more only the first two show band and seeds, which else cover each other
FEWEST_IN_BAND = 3  # replicates
HIDDEN_FACTOR = 4.0  # the last factor of budgets hidden by the gating extrapolation
HEIGHT = 300
PANEL_HEIGHT = 170


def has_spread(i: int, series: Sequence[Series]) -> bool:
    """Whether the i-th of these shows band and seeds."""
    return len(series) <= MANY or i < 2


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
    known = one.before[np.isfinite(one.before)]
    row = {axis.name: axis.zero for axis in axes} | {"accuracy": known.mean() if len(known) else None}
    return pl.DataFrame([row | {"label": one.label}]).drop_nulls("accuracy")


def learning_curves(
    series: Sequence[Series], axes: Sequence[Axis], tasks: str, labels: Sequence[str] | None = None
) -> Chart:
    """Mean, 95% band and every seed of each series, with the policy before RL at the left; of more than MANY only the
    first two have band and seeds. A click on an arm in the legend leaves the others pale.

    tasks: names the vertical axis. labels: what the legend lists, by default the series'.
    """
    labels = labels or [one.label for one in series]
    chosen = alt.selection_point(fields=["label"], bind="legend", name=f"chosen_{tasks}")
    spread = [one for i, one in enumerate(series) if has_spread(i, series)]
    x, y = budget_x(axes[0]), alt.Y("accuracy:Q", title=f"accuracy on {tasks} tasks", scale=alt.Scale(zero=False))
    channels = arm_channels(labels)
    marks = only(channels, "color", "shape")
    means = alt.Chart(inline(pl.concat([mean_rows(one, axes) for one in series], how="diagonal"))).encode(x, y)
    before = alt.Chart(inline(pl.concat([before_rows(one, axes) for one in series]))).encode(x, y)
    told = accuracy_tooltip(axes, "label")
    return alt.layer(
        before_rule(axes),
        *(band(one, axes, colour_of(labels.index(one.label)), chosen) for one in spread),
        *(seed_lines(one, axes, colour_of(labels.index(one.label)), chosen) for one in spread),
        means.mark_line(strokeWidth=2.2).encode(faint(chosen, 1), **only(channels, "color", "strokeDash")),
        means.mark_point(filled=True, size=45).encode(faint(chosen, 1), tooltip=told, **marks).add_params(chosen),
        before.mark_point(size=70, filled=False).encode(faint(chosen, 1), tooltip=told, **marks),
    ).properties(height=HEIGHT)


def faint(chosen: alt.Parameter, shown: float) -> alt.Opacity:
    """Opacity `shown` for the arms chosen in the legend, a tenth of it for the others."""
    return alt.Opacity(condition={"param": chosen.name, "value": shown}, value=shown / 10)


def band(one: Series, axes: Sequence[Axis], colour: str, chosen: alt.Parameter) -> alt.Chart:
    """The 95% band of a series."""
    area = alt.Chart(inline(band_rows(one, axes))).mark_area(color=colour)
    return area.encode(budget_x(axes[0]), alt.Y("low:Q"), alt.Y2("high:Q"), faint(chosen, 0.18))


def seed_lines(one: Series, axes: Sequence[Axis], colour: str, chosen: alt.Parameter) -> alt.Chart:
    """A thin line for each replicate."""
    line = alt.Chart(inline(seed_rows(one, axes))).mark_line(strokeWidth=0.8, color=colour)
    told = accuracy_tooltip(axes, "label", "seed")
    return line.encode(budget_x(axes[0]), alt.Y("accuracy:Q"), faint(chosen, 0.35), detail="seed:N", tooltip=told)


def law_fits(one: Series, axes: Sequence[Axis], fits: Fits) -> Chart:
    """The mean curve with every fitted law; the points that extrapolation hides are open."""
    grid = np.geomspace(one.x[0], one.x[-1], LAW_POINTS)
    at = {axis.name: one.on(axis.name, grid) for axis in axes if axis.name in one.axes}
    values = {readable(name): evaluate(name, fit["parameters"], grid) for name, fit in fits.items()}
    laws = alt.Chart(inline(pl.DataFrame(at | values))).transform_fold(list(values), as_=["label", "accuracy"])
    hidden = one.x > one.x[-1] / HIDDEN_FACTOR * (1 + 1e-9)
    points = inline(mean_rows(one, axes).with_columns(kind=pl.Series(np.where(hidden, "hidden", "measured"))))
    x, y = budget_x(axes[0]), alt.Y("accuracy:Q", title="accuracy", scale=alt.Scale(zero=False))
    told = accuracy_tooltip(axes, "kind")
    measured = alt.Chart(points).encode(x)
    return alt.layer(
        before_rule(axes),
        laws.mark_line(strokeWidth=1.8).encode(x, y, tooltip="label:N", **law_channels(fits)),
        alt.Chart(inline(band_rows(one, axes)))
        .mark_rule(color=colour_of(0), strokeWidth=1.2)
        .encode(x, alt.Y("low:Q"), alt.Y2("high:Q")),
        *(
            measured.transform_filter(f"datum.kind == '{kind}'")
            .mark_point(size=60, color=colour_of(0), filled=filled, opacity=1)
            .encode(y, tooltip=told)
            for kind, filled in (("measured", True), ("hidden", False))
        ),
        alt.Chart(inline(before_rows(one, axes)))
        .mark_point(size=70, color=colour_of(0), filled=False)
        .encode(x, y, tooltip=told[1:]),
    ).properties(height=HEIGHT)


def law_channels(fits: Fits) -> dict:
    """Colour and dash of each law."""
    labels = [readable(name) for name in fits]
    return line_channels(labels, first=1)


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
        tooltip=["label:N", alt.Tooltip("residual:Q", format="+.3f")],
    )
    channels = law_channels(fits)
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
    means = alt.Chart(inline(pl.concat([mean_rows(one, axes) for one in series], how="diagonal"))).encode(x, y)
    before = alt.Chart(inline(pl.concat([before_rows(one, axes) for one in series]))).encode(x, y)
    return alt.layer(
        means.mark_line(strokeWidth=1.5).encode(**only(channels, "color")),
        means.mark_point(filled=True, size=18).encode(tooltip=told, **channels),
        before.mark_point(size=28, filled=False, strokeWidth=1.5).encode(tooltip=told, **channels),
    ).properties(height=PANEL_HEIGHT)


def metric_panel(
    lines: Mapping[str, tuple[Mapping[str, Array], Array]],
    axes: Sequence[Axis],
    labels: Sequence[str],
    legend: bool = False,
) -> Chart:
    """A small multiple of label → (x on each axis, y). labels: all that the page compares, for colour and dash."""
    rows = [pl.DataFrame(dict(x) | {"value": y}).with_columns(label=pl.lit(name)) for name, (x, y) in lines.items()]
    channels = arm_channels(labels, legend=legend)
    base = alt.Chart(inline(pl.concat(rows, how="diagonal"))).encode(
        budget_x(axes[0], titled=False),
        alt.Y("value:Q", title=None, scale=alt.Scale(zero=False), axis=alt.Axis(format="~g")),
        tooltip=["label:N", alt.Tooltip("value:Q", format=".4~g")],
        **only(channels, "color"),
    )
    return alt.layer(
        # Clipped: steps before the first budget lie left of where the policy before RL is drawn.
        base.mark_line(strokeWidth=1.5, clip=True).encode(**only(channels, "strokeDash")),
        base.mark_point(filled=True, size=14, clip=True),
    ).properties(height=PANEL_HEIGHT)
