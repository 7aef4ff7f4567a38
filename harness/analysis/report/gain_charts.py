"""Charts of estimates with their intervals: lines over budgets, forests, heat maps of gains."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from harness.analysis.report.chart_style import (
    GREY,
    Chart,
    arm_channels,
    inline,
    log_ticks,
    log_x,
    only,
    tooltip,
)
from harness.analysis.stats.formatting import Record, format_number

ROW_HEIGHT = 22
HEIGHT = 240


def forest_chart(rows: Sequence[Record], labels: Sequence[str], x_title: str, log: bool = False) -> Chart:
    """A forest of rows {row, label, mean, low, high}, the first on top, labels beside one another within a row; no bar
    where low and high are None."""
    names = list(dict.fromkeys(one["row"] for one in rows))
    scale = alt.Scale(type="log", nice=False) if log else alt.Scale(zero=True)
    axis = log_ticks(x_title) if log else alt.Axis(title=x_title, format="~g", labelOverlap=True, tickCount=5)
    ends = [alt.X(f"{name}:Q", scale=scale, axis=axis) for name in ("low", "mean")]
    y = alt.Y("row:N", sort=names, title=None, axis=alt.Axis(grid=False, labelLimit=170))
    shared = len(rows) > len(names)  # several labels in a row
    beside = {"yOffset": alt.YOffset("label:N", sort=list(labels))} if shared else {}
    told = tooltip("row", "label", mean="+.4~g", low="+.4~g", high="+.4~g")
    channels = only(arm_channels(labels), "color", "shape")
    base = alt.Chart(inline(rows)).encode(y, tooltip=told, **beside)
    marks = [
        base.mark_rule(strokeWidth=1.5).encode(ends[0], alt.X2("high:Q"), **only(channels, "color")),
        base.mark_point(filled=True, size=50, opacity=1).encode(ends[1], **channels),
    ]
    zero = alt.Chart(inline([{"mean": 0.0}])).mark_rule(color=GREY).encode(ends[1])
    return alt.layer(*([] if log else [zero]), *marks).properties(height=ROW_HEIGHT * max(len(names), 2))


def is_clear(gain: Record) -> bool:
    """Whether the 95% interval excludes 0."""
    return gain["low"] is not None and (gain["low"] > 0 or gain["high"] < 0)


def heat_cell(y: str, x: str, gain: Record) -> dict[str, Any]:
    """A row of `heat_maps`; * marks a clear gain."""
    shown = format_number(gain["mean"], 2, sign=True).replace("0.", ".") + "*" * is_clear(gain)
    return {"y": y, "x": x, "gain": gain["mean"], "shown": shown}


def heat_maps(
    panels: Mapping[str, Sequence[Record]], value: str = "gain", x_title: str | None = None, y_title: str | None = None
) -> dict[str, Chart]:
    """A heat map for each heading of rows {x, y, value's name, shown (the text of the cell)}, all on one scale of
    colours: about 0 for gains, else from the lowest to the highest."""
    values = [row[value] for rows in panels.values() for row in rows if row[value] is not None] or [0.0]
    low, high = min(values), max(values)
    if value == "gain":
        high = max(-low, high) or 1.0
        scale = alt.Scale(scheme="blueorange", domain=[-high, high], reverse=True)
        strong = f"abs(datum.gain) > {0.7 * high}"
    else:
        scale = alt.Scale(scheme="blues", domain=[low, high if high > low else low + 1e-6])
        strong = f"datum.{value} > {(low + high) / 2}"
    text = alt.condition(strong, alt.ColorValue("white"), alt.ColorValue("black"))
    colour = alt.Color(f"{value}:Q", scale=scale, legend=None)
    return {heading: _heat_map(rows, value, colour, text, (x_title, y_title)) for heading, rows in panels.items()}


def _heat_map(
    rows: Sequence[Record], value: str, colour: alt.Color, text: Any, titles: tuple[str | None, str | None]
) -> Chart:
    """Rows in their order. The longer side stands upright, where a phone has room for it."""
    sides = [(name, list(dict.fromkeys(row[name] for row in rows)), title) for name, title in zip("xy", titles)]
    (across, columns, x_title), (down, lines, y_title) = sorted(sides, key=lambda side: len(side[1]))
    angle = 0 if max(map(len, columns)) < 4 else -40
    x_axis = alt.Axis(title=x_title, labelAngle=angle, labelLimit=150, grid=False)
    y_axis = alt.Axis(title=y_title, labelLimit=130, grid=False)
    x, y = alt.X(f"{across}:N", sort=columns, axis=x_axis), alt.Y(f"{down}:N", sort=lines, axis=y_axis)
    base = alt.Chart(inline(rows)).encode(x, y, tooltip=tooltip("y", "x", **{value: ".3f"}))
    return alt.layer(
        base.mark_rect().encode(colour),
        base.mark_text(fontSize=9).encode(alt.Text("shown:N"), text),
    ).properties(height=ROW_HEIGHT * max(len(lines), 2))


def interval_rows(label: str, x: Sequence[float], measure: Record) -> list[dict[str, Any]]:
    """Rows {label, budget, value, low, high} of a measure with mean, low and high at each x; x = 0 is left out."""
    each = zip(x, *(measure[name] for name in ("mean", "low", "high")))
    names = ("budget", "value", "low", "high")
    return [{"label": label} | dict(zip(names, row)) for row in each if row[0] > 0]


def interval_lines(rows: Sequence[Record], y_title: str) -> Chart:
    """A line for each label with its 95% intervals, over a log axis of budgets."""
    y = alt.Y("value:Q", title=y_title, scale=alt.Scale(zero=True))
    told = tooltip("label", budget=",.4~g", value=".3f", low=".3f", high=".3f")
    return lines_chart(rows, log_x("budget", "x, the budget"), y, told, intervals=True)


def lines_chart(
    rows: Sequence[Record],
    x: alt.X,
    y: alt.Y,
    told: Sequence[alt.Tooltip],
    channels: Mapping[str, Any] | None = None,
    intervals: bool = False,
) -> Chart:
    """A line through the points of each label, with bars from low to high for intervals.

    channels: as of arm_channels, by default those of the rows' labels.
    """
    channels = channels or arm_channels(list(dict.fromkeys(row["label"] for row in rows)))
    base = alt.Chart(inline(rows)).encode(x, channels["color"], tooltip=told)
    lines = [
        base.mark_line(strokeWidth=2).encode(y, channels["strokeDash"]),
        base.mark_point(filled=True, size=40, opacity=1).encode(y, channels["shape"]),
    ]
    bars = [base.mark_rule(strokeWidth=1.5, opacity=0.5).encode(alt.Y("low:Q"), alt.Y2("high:Q"))]
    return alt.layer(*bars * intervals, *lines).properties(height=HEIGHT)
