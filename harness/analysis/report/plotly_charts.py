"""The report's figures as plain Plotly specifications (dicts). Colours, symbols and dashes each tell arms apart.

Each trace over budgets carries its x on every axis of the page in `meta`, so that the page can switch axes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.analysis.report.curve_series import Axis, Series
from harness.analysis.stats.laws import evaluate

Array = NDArray[np.float64]
Spec = dict[str, Any]

# Okabe and Ito's palette less black and yellow, which vanish on one of the two backgrounds.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#A6761D")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "cross", "star", "hexagon")
# Plotly's dashes, and the same as SVG has them.
DASHES = {"solid": "", "dash": "6 4", "dot": "2 3", "dashdot": "6 3 2 3", "longdash": "10 4", "longdashdot": "10 3 2 3"}
LAW_POINTS = 80  # at which a law is drawn
# Above the plot, where it pushes the plot down instead of covering the axis title on a narrow screen.
LEGEND = {"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0, "traceorder": "normal"}
MANY = 4  # arms: of more only the first two show band and seeds, which else cover each other
HIDDEN_FACTOR = 4.0  # the last factor of budgets hidden by the gating extrapolation


def colour(i: int) -> str:
    return COLOURS[i % len(COLOURS)]


def dash(i: int) -> str:
    return list(DASHES)[i % len(DASHES)]


def learning_curves(series: Sequence[Series], axes: Sequence[Axis]) -> Spec:
    """Mean, 95% band and every seed of each series, with the policy before RL at the left; of more than MANY only the
    first two have band and seeds."""
    traces = [trace for i, one in enumerate(series) for trace in _curve(one, axes, i, spread=has_spread(i, series))]
    return {"data": traces, "layout": _layout(axes, "accuracy")}


def has_spread(i: int, series: Sequence[Series]) -> bool:
    """Whether the i-th of these shows band and seeds."""
    return len(series) <= MANY or i < 2


def _curve(one: Series, axes: Sequence[Axis], i: int, spread: bool) -> list[Spec]:
    line = {"color": colour(i), "width": 2.5, "dash": dash(i)}
    group = {"legendgroup": one.label, "name": one.label}
    hover = "%{y:.3f}<extra>" + one.label + "</extra>"
    traces = [
        _over(axes, _points(one, axes), one.mean, mode="lines+markers", line=line, hovertemplate=hover,
              marker={"color": colour(i), "size": 7, "symbol": SYMBOLS[i % len(SYMBOLS)]}, **group)
    ]  # fmt: skip
    if spread and np.isfinite(one.low).all():
        there_and_back = {name: np.concatenate([x, x[::-1]]) for name, x in _points(one, axes).items()}
        band = np.concatenate([one.high, one.low[::-1]])
        traces.insert(0, _over(axes, there_and_back, band, mode="lines", fill="toself", line={"width": 0},
                               fillcolor=faint(colour(i), 0.18), hoverinfo="skip", showlegend=False,
                               **group))  # fmt: skip
    if spread and len(one.accuracy) > 1:
        traces.insert(0, _seeds(one, axes, i, group))
    if np.isfinite(one.before).any():
        traces += _before(one, axes, i, group)
    return traces


def _seeds(one: Series, axes: Sequence[Axis], i: int, group: Spec) -> Spec:
    """All seeds as one trace, a gap between each."""
    n = len(one.accuracy)
    x = {name: np.tile(np.append(values, np.nan), n) for name, values in _points(one, axes).items()}
    y = np.column_stack([one.accuracy, np.full(n, np.nan)]).ravel()
    text = np.repeat(one.seeds, one.accuracy.shape[1] + 1).tolist()
    return _over(axes, x, y, mode="lines", line={"color": faint(colour(i), 0.35), "width": 1}, text=text,
                 hovertemplate="%{y:.3f}<extra>" + one.label + ", %{text}</extra>", showlegend=False,
                 **group)  # fmt: skip


def _before(one: Series, axes: Sequence[Axis], i: int, group: Spec) -> list[Spec]:
    """The policy before RL: every seed, and their mean as an open symbol."""
    known = one.before[np.isfinite(one.before)]
    hover = "%{y:.3f} before RL<extra>" + one.label + "</extra>"
    marks = (
        (known, {"color": faint(colour(i), 0.35), "size": 5, "symbol": "circle"}),
        (known.mean(keepdims=True), {"color": colour(i), "size": 9, "symbol": SYMBOLS[i % len(SYMBOLS)] + "-open",
                                     "line": {"width": 2}}),
    )  # fmt: skip
    return [
        _over(axes, {axis.name: np.full(len(y), axis.zero) for axis in axes}, y, mode="markers", marker=marker,
              hovertemplate=hover, showlegend=False, **group)
        for y, marker in marks
    ]  # fmt: skip


def laws(one: Series, axes: Sequence[Axis], fits: Mapping[str, Mapping]) -> Spec:
    """The mean curve with every fitted law; the points that extrapolation hides are open."""
    traces = []
    grid = np.geomspace(one.x[0], one.x[-1], LAW_POINTS)
    for i, (name, fit) in enumerate(fits.items()):
        line = {"color": colour(i + 1), "width": 2, "dash": dash(i)}
        x = {axis.name: one.on(axis.name, grid) for axis in axes if axis.name in one.axes}
        traces.append(_over(axes, x, evaluate(name, fit["parameters"], grid), mode="lines", line=line, name=name,
                            hovertemplate="%{y:.3f}<extra>" + name + "</extra>"))  # fmt: skip
    hidden = one.x > one.x[-1] / HIDDEN_FACTOR * (1 + 1e-9)
    for mask, name, symbol in ((~hidden, "measured", "circle"), (hidden, "hidden", "circle-open")):
        x = {key: values[mask] for key, values in _points(one, axes).items()}
        error = _bars(one, mask)
        traces.append(_over(axes, x, one.mean[mask], mode="markers", name=name, hovertemplate="%{y:.3f}<extra></extra>",
                            marker={"color": colour(0), "size": 9, "symbol": symbol, "line": {"width": 2}},
                            **error))  # fmt: skip
    if np.isfinite(one.before).any():
        traces += _before(one, axes, 0, {"legendgroup": "before", "name": "before RL"})
    return {"data": traces, "layout": _layout(axes, "accuracy")}


def _bars(one: Series, mask: NDArray[np.bool_]) -> Spec:
    if not np.isfinite(one.low).all():
        return {}
    up, down = plain((one.high - one.mean)[mask]), plain((one.mean - one.low)[mask])
    return {"error_y": {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "thickness": 1.2}}


def residuals(one: Series, axes: Sequence[Axis], fits: Mapping[str, Mapping]) -> Spec:
    """Measured mean minus each law at each budget; the constant's residuals are the curve itself, and left out."""
    traces = [
        _over(axes, _points(one, axes), one.mean - evaluate(name, fit["parameters"], one.x), mode="lines+markers",
              name=name, line={"color": colour(i + 1), "width": 1.5, "dash": dash(i)},
              marker={"size": 6, "symbol": SYMBOLS[i % len(SYMBOLS)], "color": colour(i + 1)},
              hovertemplate="%{y:+.3f}<extra>" + name + "</extra>")
        for i, (name, fit) in enumerate(fits.items()) if name != "constant"
    ]  # fmt: skip
    layout = _layout(axes, "measured − law", before=False)
    layout["yaxis"]["zeroline"] = True
    return {"data": traces, "layout": layout}


def cells(series: Sequence[Series], axes: Sequence[Axis], title: str) -> Spec:
    """A small multiple: the mean of each cell of one task, without seeds."""
    traces = []
    for i, one in enumerate(series):
        mark = {"color": colour(i), "size": 5, "symbol": SYMBOLS[i % len(SYMBOLS)]}
        traces.append(_over(axes, _points(one, axes), one.mean, mode="lines+markers", name=one.label, marker=mark,
                            line={"color": colour(i), "width": 1.5}, hovertemplate="%{y:.3f}<extra>" + one.label
                            + "</extra>"))  # fmt: skip
        if np.isfinite(one.before).any():
            traces.append(_before(one, axes, i, {"name": one.label})[1])
    layout = _small(axes, title, len(series) > 1)
    layout["yaxis"]["range"] = [0, 1]
    return {"data": traces, "layout": layout}


def overlay(lines: Sequence[tuple[int, str, Mapping[str, Array], Array]], axes: Sequence[Axis], title: str) -> Spec:
    """A small multiple of (place, label, x on each axis, y): the place fixes colour and dash across figures."""
    traces = [
        _over(axes, x, y, mode="lines+markers", name=label, marker={"size": 4}, legendgroup=label,
              line={"color": colour(i), "width": 1.5, "dash": dash(i)},
              hovertemplate="%{y:.4g}<extra>" + label + "</extra>")
        for i, label, x, y in lines
    ]  # fmt: skip
    return {"data": traces, "layout": _small(axes, title, legend=False)}


def _small(axes: Sequence[Axis], title: str, legend: bool) -> Spec:
    layout: Spec = {**_layout(axes, ""), "title": {"text": title, "font": {"size": 13}}, "height": 250}
    layout["margin"] = {"l": 36, "r": 8, "t": 34, "b": 30}
    layout["xaxis"]["title"] = {"text": ""}
    layout["showlegend"] = legend
    layout["legend"] = {"orientation": "h", "y": -0.16, "font": {"size": 10}, "traceorder": "normal"}
    return layout


def gains(rows: Sequence[tuple[str, str, Mapping]]) -> Spec:
    """Forest of (label, role, record) gains with 95% intervals, first row on top."""
    roles = list(dict.fromkeys(role for _, role, _ in rows))
    traces = []
    for i, role in enumerate(roles):
        own = [(label, record) for label, of, record in rows if of == role]
        sides = [[abs((record[side] if record[side] is not None else record["mean"]) - record["mean"])
                  for _, record in own] for side in ("high", "low")]  # fmt: skip
        traces.append({
            "type": "scatter", "mode": "markers", "name": role, "x": [record["mean"] for _, record in own],
            "y": [label for label, _ in own], "hovertemplate": "%{x:+.3f}<extra>%{y}</extra>",
            "marker": {"color": colour(i), "size": 9, "symbol": SYMBOLS[i]},
            "error_x": {"type": "data", "symmetric": False, "array": sides[0], "arrayminus": sides[1]},
        })  # fmt: skip
    order = [label for label, _, _ in rows][::-1]
    layout = {
        "height": 120 + 26 * len(order), "margin": {"l": 10, "r": 12, "t": 10, "b": 50},
        "xaxis": {"title": {"text": "gain in accuracy"}, "rangemode": "tozero", "zeroline": True, "zerolinewidth": 2},
        "yaxis": {"categoryorder": "array", "categoryarray": order, "automargin": True},
        "legend": LEGEND,
    }  # fmt: skip
    return {"data": traces, "layout": layout}


def _points(one: Series, axes: Sequence[Axis]) -> dict[str, Array]:
    return {axis.name: one.axes[axis.name] for axis in axes if axis.name in one.axes}


def _over(axes: Sequence[Axis], x: Mapping[str, Array], y: Array, **style: Any) -> Spec:
    """A scatter trace over budgets; an axis that the arm has not (an arm that spends no FLOPs) hides it there."""
    known = {axis.name: plain(x[axis.name]) for axis in axes if axis.name in x}
    first = known.get(axes[0].name, [])
    return {"type": "scatter", "x": first, "y": plain(y), "meta": {"axes": known}, "connectgaps": False, **style}


def _layout(axes: Sequence[Axis], y_title: str, before: bool = True) -> Spec:
    axis = axes[0]
    layout: Spec = {
        "height": 420, "margin": {"l": 56, "r": 12, "t": 10, "b": 52}, "hovermode": "closest",
        "xaxis": {"type": "log", **x_axis(axis)},
        "yaxis": {"title": {"text": y_title}, "zeroline": False, "automargin": True},
        "legend": LEGEND,
        "shapes": [],
    }  # fmt: skip
    if before:
        layout["shapes"] = [{"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": axis.gap, "x1": axis.gap,
                             "line": {"dash": "dot", "width": 1, "color": "#888888"}}]  # fmt: skip
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


def faint(hexadecimal: str, alpha: float) -> str:
    red, green, blue = (int(hexadecimal[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def plain(values: Array) -> list[float | None]:
    """Numbers as JSON has them, to six figures; gaps as None."""
    return [float(f"{value:.6g}") if np.isfinite(value) else None for value in values]
