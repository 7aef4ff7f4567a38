"""The report's figures as plain Plotly specifications (dicts). Colours, symbols and dashes each distinguish the arms.

Each trace over budgets carries its x on every axis of the page in `meta`, so that the page can switch axes.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.analysis.report.curve_series import Axis, Series
from harness.analysis.report.plotly_layout import (
    LEGEND,
    SYMBOLS,
    Spec,
    budget_layout,
    budget_trace,
    colour_of,
    dash_of,
    json_numbers,
    panel_layout,
    with_alpha,
    x_on_axes,
)
from harness.analysis.stats.laws import evaluate

Array = NDArray[np.float64]

LAW_POINTS = 80  # at which a law is drawn
MANY = 4  # arms: of more only the first two show band and seeds, which else cover each other
HIDDEN_FACTOR = 4.0  # the last factor of budgets hidden by the gating extrapolation


def learning_curves(series: Sequence[Series], axes: Sequence[Axis]) -> Spec:
    """Mean, 95% band and every seed of each series, with the policy before RL at the left; of more than MANY only the
    first two have band and seeds."""
    traces = [trace for i, one in enumerate(series) for trace in _curve(one, axes, i, spread=has_spread(i, series))]
    return {"data": traces, "layout": budget_layout(axes, "accuracy")}


def has_spread(i: int, series: Sequence[Series]) -> bool:
    """Whether the i-th of these shows band and seeds."""
    return len(series) <= MANY or i < 2


def _curve(one: Series, axes: Sequence[Axis], i: int, spread: bool) -> list[Spec]:
    line = {"color": colour_of(i), "width": 2.5, "dash": dash_of(i)}
    group = {"legendgroup": one.label, "name": one.label}
    hover = "%{y:.3f}<extra>" + one.label + "</extra>"
    traces = [
        budget_trace(
            axes,
            x_on_axes(one, axes),
            one.mean,
            mode="lines+markers",
            line=line,
            hovertemplate=hover,
            marker={"color": colour_of(i), "size": 7, "symbol": SYMBOLS[i % len(SYMBOLS)]},
            **group,
        )
    ]
    if spread and np.isfinite(one.low).all():
        there_and_back = {name: np.concatenate([x, x[::-1]]) for name, x in x_on_axes(one, axes).items()}
        band = np.concatenate([one.high, one.low[::-1]])
        traces.insert(
            0,
            budget_trace(
                axes,
                there_and_back,
                band,
                mode="lines",
                fill="toself",
                line={"width": 0},
                fillcolor=with_alpha(colour_of(i), 0.18),
                hoverinfo="skip",
                showlegend=False,
                **group,
            ),
        )
    if spread and len(one.accuracy) > 1:
        traces.insert(0, _seeds(one, axes, i, group))
    if np.isfinite(one.before).any():
        traces += _before(one, axes, i, group)
    return traces


def _seeds(one: Series, axes: Sequence[Axis], i: int, group: Spec) -> Spec:
    """All seeds as one trace, a gap between each."""
    n = len(one.accuracy)
    x = {name: np.tile(np.append(values, np.nan), n) for name, values in x_on_axes(one, axes).items()}
    y = np.column_stack([one.accuracy, np.full(n, np.nan)]).ravel()
    text = np.repeat(one.seeds, one.accuracy.shape[1] + 1).tolist()
    return budget_trace(
        axes,
        x,
        y,
        mode="lines",
        line={"color": with_alpha(colour_of(i), 0.35), "width": 1},
        text=text,
        hovertemplate="%{y:.3f}<extra>" + one.label + ", %{text}</extra>",
        showlegend=False,
        **group,
    )


def _before(one: Series, axes: Sequence[Axis], i: int, group: Spec) -> list[Spec]:
    """The policy before RL: every seed, and their mean as an open symbol."""
    known = one.before[np.isfinite(one.before)]
    hover = "%{y:.3f} before RL<extra>" + one.label + "</extra>"
    marks = (
        (known, {"color": with_alpha(colour_of(i), 0.35), "size": 5, "symbol": "circle"}),
        (
            known.mean(keepdims=True),
            {"color": colour_of(i), "size": 9, "symbol": SYMBOLS[i % len(SYMBOLS)] + "-open", "line": {"width": 2}},
        ),
    )
    return [
        budget_trace(
            axes,
            {axis.name: np.full(len(y), axis.zero) for axis in axes},
            y,
            mode="markers",
            marker=marker,
            hovertemplate=hover,
            showlegend=False,
            **group,
        )
        for y, marker in marks
    ]


def law_fits(one: Series, axes: Sequence[Axis], fits: Mapping[str, Mapping]) -> Spec:
    """The mean curve with every fitted law; the points that extrapolation hides are open."""
    traces = []
    grid = np.geomspace(one.x[0], one.x[-1], LAW_POINTS)
    for i, (name, fit) in enumerate(fits.items()):
        line = {"color": colour_of(i + 1), "width": 2, "dash": dash_of(i)}
        x = {axis.name: one.on(axis.name, grid) for axis in axes if axis.name in one.axes}
        traces.append(
            budget_trace(
                axes,
                x,
                evaluate(name, fit["parameters"], grid),
                mode="lines",
                line=line,
                name=name,
                hovertemplate="%{y:.3f}<extra>" + name + "</extra>",
            )
        )
    hidden = one.x > one.x[-1] / HIDDEN_FACTOR * (1 + 1e-9)
    for mask, name, symbol in ((~hidden, "measured", "circle"), (hidden, "hidden", "circle-open")):
        x = {key: values[mask] for key, values in x_on_axes(one, axes).items()}
        error = _bars(one, mask)
        traces.append(
            budget_trace(
                axes,
                x,
                one.mean[mask],
                mode="markers",
                name=name,
                hovertemplate="%{y:.3f}<extra></extra>",
                marker={"color": colour_of(0), "size": 9, "symbol": symbol, "line": {"width": 2}},
                **error,
            )
        )
    if np.isfinite(one.before).any():
        traces += _before(one, axes, 0, {"legendgroup": "before", "name": "before RL"})
    return {"data": traces, "layout": budget_layout(axes, "accuracy")}


def _bars(one: Series, mask: NDArray[np.bool_]) -> Spec:
    if not np.isfinite(one.low).all():
        return {}
    up, down = json_numbers((one.high - one.mean)[mask]), json_numbers((one.mean - one.low)[mask])
    return {"error_y": {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "thickness": 1.2}}


def residuals(one: Series, axes: Sequence[Axis], fits: Mapping[str, Mapping]) -> Spec:
    """Measured mean minus each law at each budget; the constant's residuals are the curve itself, and left out."""
    traces = [
        budget_trace(
            axes,
            x_on_axes(one, axes),
            one.mean - evaluate(name, fit["parameters"], one.x),
            mode="lines+markers",
            name=name,
            line={"color": colour_of(i + 1), "width": 1.5, "dash": dash_of(i)},
            marker={"size": 6, "symbol": SYMBOLS[i % len(SYMBOLS)], "color": colour_of(i + 1)},
            hovertemplate="%{y:+.3f}<extra>" + name + "</extra>",
        )
        for i, (name, fit) in enumerate(fits.items())
        if name != "constant"
    ]
    layout = budget_layout(axes, "measured − law", before=False)
    layout["yaxis"]["zeroline"] = True
    return {"data": traces, "layout": layout}


def cell_panel(series: Sequence[Series], axes: Sequence[Axis], title: str) -> Spec:
    """A small multiple: the mean of each cell of one task, without seeds."""
    traces = []
    for i, one in enumerate(series):
        mark = {"color": colour_of(i), "size": 5, "symbol": SYMBOLS[i % len(SYMBOLS)]}
        traces.append(
            budget_trace(
                axes,
                x_on_axes(one, axes),
                one.mean,
                mode="lines+markers",
                name=one.label,
                marker=mark,
                line={"color": colour_of(i), "width": 1.5},
                hovertemplate="%{y:.3f}<extra>" + one.label + "</extra>",
            )
        )
        if np.isfinite(one.before).any():
            traces.append(_before(one, axes, i, {"name": one.label})[1])
    layout = panel_layout(axes, title, len(series) > 1)
    layout["yaxis"]["range"] = [0, 1]
    return {"data": traces, "layout": layout}


def metric_panel(
    lines: Sequence[tuple[int, str, Mapping[str, Array], Array]], axes: Sequence[Axis], title: str
) -> Spec:
    """A small multiple of (place, label, x on each axis, y): the place fixes colour and dash across figures."""
    traces = [
        budget_trace(
            axes,
            x,
            y,
            mode="lines+markers",
            name=label,
            marker={"size": 4},
            legendgroup=label,
            line={"color": colour_of(i), "width": 1.5, "dash": dash_of(i)},
            hovertemplate="%{y:.4g}<extra>" + label + "</extra>",
        )
        for i, label, x, y in lines
    ]
    return {"data": traces, "layout": panel_layout(axes, title, legend=False)}


def gain_forest(rows: Sequence[tuple[str, str, Mapping]]) -> Spec:
    """Forest of (label, role, record) gains with 95% intervals, first row on top."""
    roles = list(dict.fromkeys(role for _, role, _ in rows))
    traces = []
    for i, role in enumerate(roles):
        own = [(label, record) for label, of, record in rows if of == role]
        sides = [
            [abs((record[side] if record[side] is not None else record["mean"]) - record["mean"]) for _, record in own]
            for side in ("high", "low")
        ]
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": role,
                "x": [record["mean"] for _, record in own],
                "y": [label for label, _ in own],
                "hovertemplate": "%{x:+.3f}<extra>%{y}</extra>",
                "marker": {"color": colour_of(i), "size": 9, "symbol": SYMBOLS[i]},
                "error_x": {"type": "data", "symmetric": False, "array": sides[0], "arrayminus": sides[1]},
            }
        )
    order = [label for label, _, _ in rows][::-1]
    layout = {
        "height": 120 + 26 * len(order),
        "margin": {"l": 10, "r": 12, "t": 10, "b": 50},
        "xaxis": {"title": {"text": "gain in accuracy"}, "rangemode": "tozero", "zeroline": True, "zerolinewidth": 2},
        "yaxis": {"categoryorder": "array", "categoryarray": order, "automargin": True},
        "legend": LEGEND,
    }
    return {"data": traces, "layout": layout}
