"""Charts of gains: the forest of tasks."""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from harness.analysis.report.chart_style import Chart, arm_channels, inline, only, readable

Record = Mapping[str, Any]
ROW_HEIGHT = 22


def gain_forest(rows: Sequence[tuple[str, str, Record]], x_title: str) -> Chart:
    """Forest of (label, role, gain with interval), first row on top; no bar where one replicate gives no interval."""
    roles = list(dict.fromkeys(role for _, role, _ in rows))
    data = [
        {"task": readable(name), "label": role, "gain": one["mean"], "low": one["low"], "high": one["high"], "place": i}
        for i, (name, role, one) in enumerate(rows)
    ]
    order = alt.EncodingSortField("place", op="min")
    y = alt.Y("task:N", sort=order, title=None, axis=alt.Axis(grid=False, labelLimit=170))
    numbers = [alt.Tooltip(f"{name}:Q", format="+.3f") for name in ("gain", "low", "high")]
    channels = only(arm_channels(roles), "color", "shape")
    base = alt.Chart(inline(data)).encode(y, tooltip=["task:N", *numbers])
    zero = alt.Chart(inline([{"zero": 0.0}])).mark_rule(color="#888888").encode(alt.X("zero:Q", title=x_title))
    return alt.layer(
        zero,
        base.mark_rule(strokeWidth=1.5).encode(alt.X("low:Q"), alt.X2("high:Q"), **only(channels, "color")),
        base.mark_point(filled=True, size=60, opacity=1).encode(alt.X("gain:Q", title=x_title), **channels),
    ).properties(height=ROW_HEIGHT * max(len(rows), 2))
