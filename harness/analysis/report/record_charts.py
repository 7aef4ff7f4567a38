"""Lines with intervals over budgets, from records that hold a mean, low and high at each x."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from harness.analysis.report.chart_style import Chart, arm_channels, inline, log_x, only
from harness.analysis.stats.formatting import Record

HEIGHT = 240


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
    return alt.layer(
        base.mark_rule(strokeWidth=1.5, opacity=0.5).encode(
            alt.Y("low:Q"), alt.Y2("high:Q"), **only(channels, "color")
        ),
        base.mark_line(strokeWidth=2).encode(y, **only(channels, "color", "strokeDash")),
        base.mark_point(filled=True, size=40, opacity=1).encode(y, **only(channels, "color", "shape")),
    ).properties(height=HEIGHT)
