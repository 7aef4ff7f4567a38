"""Colours, traces over budgets and layouts that the report's Plotly figures share.

Each trace over budgets carries its x on every axis of the page in `meta`, so that the page can switch axes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.analysis.report.curve_series import Axis, Series

Array = NDArray[np.float64]

Spec = dict[str, Any]

# Okabe and Ito's palette less black and yellow, which vanish on one of the two backgrounds.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#A6761D")

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "cross", "star", "hexagon")

# Plotly's dashes, and the same as SVG has them.
DASHES = {"solid": "", "dash": "6 4", "dot": "2 3", "dashdot": "6 3 2 3", "longdash": "10 4", "longdashdot": "10 3 2 3"}

# Above the plot, where it pushes the plot down instead of covering the axis title on a narrow screen.
LEGEND = {"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0, "traceorder": "normal"}


def colour_of(i: int) -> str:
    return COLOURS[i % len(COLOURS)]


def dash_of(i: int) -> str:
    return list(DASHES)[i % len(DASHES)]


def panel_layout(axes: Sequence[Axis], title: str, legend: bool) -> Spec:
    layout: Spec = {**budget_layout(axes, ""), "title": {"text": title, "font": {"size": 13}}, "height": 250}
    layout["margin"] = {"l": 36, "r": 8, "t": 34, "b": 30}
    layout["xaxis"]["title"] = {"text": ""}
    layout["showlegend"] = legend
    layout["legend"] = {"orientation": "h", "y": -0.16, "font": {"size": 10}, "traceorder": "normal"}
    return layout


def x_on_axes(one: Series, axes: Sequence[Axis]) -> dict[str, Array]:
    return {axis.name: one.axes[axis.name] for axis in axes if axis.name in one.axes}


def budget_trace(axes: Sequence[Axis], x: Mapping[str, Array], y: Array, **style: Any) -> Spec:
    """A scatter trace over budgets; an axis that the arm has not (an arm that spends no FLOPs) hides it there."""
    known = {axis.name: json_numbers(x[axis.name]) for axis in axes if axis.name in x}
    first = known.get(axes[0].name, [])
    return {"type": "scatter", "x": first, "y": json_numbers(y), "meta": {"axes": known}, "connectgaps": False, **style}


def budget_layout(axes: Sequence[Axis], y_title: str, before: bool = True) -> Spec:
    axis = axes[0]
    layout: Spec = {
        "height": 420,
        "margin": {"l": 56, "r": 12, "t": 10, "b": 52},
        "hovermode": "closest",
        "xaxis": {"type": "log", **x_axis(axis)},
        "yaxis": {"title": {"text": y_title}, "zeroline": False, "automargin": True},
        "legend": LEGEND,
        "shapes": [],
    }
    if before:
        layout["shapes"] = [
            {
                "type": "line",
                "yref": "paper",
                "y0": 0,
                "y1": 1,
                "x0": axis.gap,
                "x1": axis.gap,
                "line": {"dash": "dot", "width": 1, "color": "#888888"},
            }
        ]
    return layout


def x_axis(axis: Axis) -> Spec:
    """What of a Plotly x-axis changes when the page switches to this axis."""
    return {
        "title": {"text": axis.title, "standoff": 10},
        "range": list(axis.range),
        "tickvals": [value for value, _ in axis.ticks],
        "ticktext": [text for _, text in axis.ticks],
        "tickangle": 0,
    }


def with_alpha(hexadecimal: str, alpha: float) -> str:
    red, green, blue = (int(hexadecimal[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def json_numbers(values: Array) -> list[float | None]:
    """Numbers as JSON has them, to six figures; gaps as None."""
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values]
