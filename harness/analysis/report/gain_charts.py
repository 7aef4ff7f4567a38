"""Charts of estimates with their intervals: lines over budgets, forests, heat maps of gains."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from harness.analysis.report.chart_style import GREY, Chart, arm_channels, inline, log_ticks, log_x, only, readable
from harness.analysis.stats.formatting import Record

ROW_HEIGHT = 22
HEIGHT = 240


def forest_chart(rows: Sequence[Record], labels: Sequence[str], x_title: str, log: bool = False) -> Chart:
    """A forest of rows {row, label, value, low, high}, the first on top, labels beside one another within a row; no bar
    where low and high are None."""
    names = list(dict.fromkeys(one["row"] for one in rows))
    scale = alt.Scale(type="log", nice=False) if log else alt.Scale(zero=True)
    axis = log_ticks(x_title) if log else alt.Axis(title=x_title, format="~g", labelOverlap=True, tickCount=5)
    ends = [alt.X(f"{name}:Q", scale=scale, axis=axis) for name in ("low", "value")]
    y = alt.Y("row:N", sort=names, title=None, axis=alt.Axis(grid=False, labelLimit=170))
    shared = len(rows) > len(names)  # several labels in a row
    beside = {"yOffset": alt.YOffset("label:N", sort=list(labels))} if shared else {}
    told = ["row:N", "label:N", *(alt.Tooltip(f"{name}:Q", format="+.4~g") for name in ("value", "low", "high"))]
    channels = only(arm_channels(labels), "color", "shape")
    base = alt.Chart(inline(rows)).encode(y, tooltip=told, **beside)
    marks = [
        base.mark_rule(strokeWidth=1.5).encode(ends[0], alt.X2("high:Q"), **only(channels, "color")),
        base.mark_point(filled=True, size=50, opacity=1).encode(ends[1], **channels),
    ]
    zero = alt.Chart(inline([{"value": 0.0}])).mark_rule(color=GREY).encode(ends[1])
    return alt.layer(*([] if log else [zero]), *marks).properties(height=ROW_HEIGHT * max(len(names), 2))


def gain_forest(rows: Sequence[tuple[str, str, Record]], x_title: str) -> Chart:
    """Forest of (name, role, gain with interval)."""
    data = [
        {"row": readable(name), "label": role, "value": one["mean"], "low": one["low"], "high": one["high"]}
        for name, role, one in rows
    ]
    return forest_chart(data, list(dict.fromkeys(role for _, role, _ in rows)), x_title)


def is_clear(gain: Record) -> bool:
    """Whether the 95% interval excludes 0."""
    return gain["low"] is not None and (gain["low"] > 0 or gain["high"] < 0)


def heat_cell(y: str, x: str, gain: Record) -> dict[str, Any]:
    """A row of `heat_map`."""
    return {"y": y, "x": x, "gain": gain["mean"], "clear": is_clear(gain)}


def heat_maps(panels: Mapping[str, Sequence[Record]], x_title: str | None = None, y_title: str | None = None) -> dict:
    """A heat map for each heading, all on one scale of colours."""
    gains = [abs(one["gain"]) for rows in panels.values() for one in rows if one["gain"] is not None]
    most = max(gains, default=0.0) or 1.0
    return {heading: heat_map(rows, most, x_title, y_title) for heading, rows in panels.items()}


def heat_map(rows: Sequence[Record], most: float, x_title: str | None, y_title: str | None) -> Chart:
    """Gains {x, y, gain, clear}, in the order of the rows: colours about 0, the number in each cell, with a star where
    its interval excludes 0 (clear). The longer side stands upright, where a phone has room for it.

    most: the gain of the strongest colour.
    """
    order = {name: list(dict.fromkeys(one[name] for one in rows)) for name in ("x", "y")}
    if len(order["x"]) > len(order["y"]):
        order = {"x": order["y"], "y": order["x"]}
        rows = [dict(one) | {"x": one["y"], "y": one["x"]} for one in rows]
        x_title, y_title = y_title, x_title
    angle = 0 if max(map(len, order["x"])) < 4 else -40
    x = alt.X("x:N", sort=order["x"], axis=alt.Axis(title=x_title, labelAngle=angle, labelLimit=150, grid=False))
    y = alt.Y("y:N", sort=order["y"], axis=alt.Axis(title=y_title, labelLimit=130, grid=False))
    scale = alt.Scale(scheme="blueorange", domain=[-most, most], reverse=True)
    told = ["y:N", "x:N", alt.Tooltip("gain:Q", format="+.3f")]
    base = alt.Chart(inline(rows)).encode(x, y, tooltip=told)
    number = "abs(datum.gain) < 0.005 ? '.00' : replace(format(datum.gain, '+.2f'), '0.', '.')"
    text = f"({number}) + (datum.clear ? '*' : '')"
    strong = f"abs(datum.gain) > {0.7 * most:.6g} ? 'white' : 'black'"
    return alt.layer(
        base.mark_rect().encode(alt.Color("gain:Q", scale=scale, legend=None)),
        base.mark_text(fontSize=8.5, color=alt.ExprRef(strong))
        .encode(text=alt.Text("shown:N"))
        .transform_calculate(shown=text),
    ).properties(height=ROW_HEIGHT * max(len(order["y"]), 2))


def pass_chart(rows: Sequence[Record]) -> Chart:
    """Rows {label, k, value, low, high}: lines over k on a log axis of base 2."""
    labels, ks = (list(dict.fromkeys(row[name] for row in rows)) for name in ("label", "k"))
    channels = arm_channels(labels)
    scale = alt.Scale(type="log", base=2, nice=False, padding=10)
    x = alt.X("k:Q", title="k", scale=scale, axis=alt.Axis(values=ks, format="d"))
    y = alt.Y("value:Q", title="pass@k", scale=alt.Scale(zero=False))
    told = ["label:N", "k:Q", *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("value", "low", "high"))]
    base = alt.Chart(inline(rows)).encode(x, tooltip=told)
    return alt.layer(*interval_marks(base, y, channels)).properties(height=HEIGHT)


def interval_rows(label: str, x: Sequence[float], measure: Record) -> list[dict[str, Any]]:
    """Rows {label, budget, value, low, high} of a measure with mean, low and high at each x; x = 0 is left out."""
    each = zip(x, *(measure[name] for name in ("mean", "low", "high")))
    names = ("budget", "value", "low", "high")
    return [{"label": label} | dict(zip(names, row)) for row in each if row[0] > 0]


def interval_lines(rows: Sequence[Record], y_title: str) -> Chart:
    """A line for each label with its 95% intervals, over a log axis of budgets."""
    labels = list(dict.fromkeys(row["label"] for row in rows))
    channels, x = arm_channels(labels), log_x("budget", "x, the budget")
    y = alt.Y("value:Q", title=y_title, scale=alt.Scale(zero=True))
    numbers = [alt.Tooltip(f"{name}:Q", format=".3f") for name in ("value", "low", "high")]
    base = alt.Chart(inline(rows)).encode(x, tooltip=["label:N", alt.Tooltip("budget:Q", format=",.4~g"), *numbers])
    return alt.layer(*interval_marks(base, y, channels, 40, opacity=0.5)).properties(height=HEIGHT)


def interval_marks(
    base: alt.Chart, y: alt.Y, channels: Mapping[str, Any], size: int = 50, **rule: Any
) -> list[alt.Chart]:
    """Of rows {label, low, high, what y shows}: a bar of this style from low to high, a line and points, by label."""
    bar = base.mark_rule(strokeWidth=1.5, **rule)
    ends = bar.encode(alt.Y("low:Q"), alt.Y2("high:Q"), **only(channels, "color"))
    return [ends, *line_marks(base.encode(y), channels, size)]


def line_marks(base: alt.Chart, channels: Mapping[str, Any], size: int = 40) -> list[alt.Chart]:
    """A line through the points of each label."""
    return [
        base.mark_line(strokeWidth=2).encode(**only(channels, "color", "strokeDash")),
        base.mark_point(filled=True, size=size, opacity=1).encode(**only(channels, "color", "shape")),
    ]
