"""The section on the mechanism: when each cell reaches half of its own rise, the pool rebuilt from that, how budgets to
a threshold grow with difficulty, and gain against base success."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from harness.analysis.report.html import Section, figure_slot, html_table, paragraphs
from harness.analysis.report.plotly_layout import LEGEND, Spec, colour_of, json_numbers
from harness.analysis.stats.formatting import format_number, format_significant, format_with_interval

Record = Mapping[str, Any]
Array = NDArray[np.float64]
X_TITLE = "x at half of a cell's own rise"


def learning_section(pools: Sequence[Record]) -> Section | None:
    """Of each pool with learning times: their shares over x, the rebuilt pool, and the medians of the cells. None where
    no pool has them."""
    known = [pool for pool in pools if pool.get("learning_times") and pool["learning_times"]["observed"]]
    if not known:
        return None
    figures, parts = {}, []
    for pool in known:
        times, role = pool["learning_times"], pool["role"]
        figures[f"learning-{role}"] = learned_share(times)
        figures[f"rebuilt-{role}"] = rebuilt_pool(pool)
        parts += [
            f"<h3>{role} tasks</h3>",
            paragraphs([times["sentence"]]),
            figure_slot(
                f"learning-{role}",
                "Share of cells and replicates learned by x; dashed, the log-uniform distribution of the same spread.",
            ),
            figure_slot(f"rebuilt-{role}", "The pool, and the pool rebuilt from steps at the learning times."),
            _cell_table(times),
            _difficulty_table(pool.get("difficulty_scaling") or []),
        ]
        if pool.get("gain_by_base_success"):
            figures[f"base-{role}"] = base_success_chart(pool["gain_by_base_success"])
            parts.append(figure_slot(f"base-{role}", "Gain of each cell against its success before RL, 95% intervals."))
    return Section("learning", "When each cell is learned", "".join(parts), figures)


def learned(times: Record) -> tuple[Array, Array]:
    """(x ascending, share of all cells and replicates learned by x); those before the first budget count from there."""
    known = np.sort([x for cell in times["by_cell"] for x in cell["x_half"] if x is not None])
    return known, np.arange(1, len(known) + 1) / (times["observed"] + times["early"] + times["late"])


def log_uniform_line(times: Record) -> tuple[Array, Array] | None:
    """Two points of the log-uniform distribution with the measured spread, through the middle of the learned share."""
    if times["spread_decades"] is None:
        return None
    x, share = learned(times)
    middle, at = np.log10(x[len(x) // 2]), share[len(x) // 2]
    ends = np.array([0.0, share[-1]])
    return 10.0 ** (middle + (ends - at) * times["spread_decades"]), ends


def learned_share(times: Record) -> Spec:
    """Plotly figure of the learned share."""
    x, share = learned(times)
    line = {"shape": "hv", "color": colour_of(0), "width": 2}
    traces = [_trace(x, share, "learned", line=line)]
    if (uniform := log_uniform_line(times)) is not None:
        traces.append(_trace(*uniform, "log-uniform", line={"color": colour_of(1), "width": 2, "dash": "dash"}))
    return {"data": traces, "layout": _layout(X_TITLE, "share learned") | {"height": 320}}


def rebuilt_pool(pool: Record) -> Spec:
    """Plotly figure of the measured pool beside the rebuilt one."""
    x, measured = (np.array(pool["curve"][name]) for name in ("x", "mean"))
    rebuilt = np.array(pool["learning_times"]["rebuilt"]["mean"])
    traces = [
        _trace(x, measured, "measured", mode="lines+markers", line={"color": colour_of(0), "width": 2}),
        _trace(x, rebuilt, "rebuilt from steps", line={"color": colour_of(1), "width": 2, "dash": "dash"}),
    ]
    return {"data": traces, "layout": _layout("x", "accuracy") | {"height": 320}}


def base_success_chart(cells: Sequence[Record]) -> Spec:
    """Plotly figure of each cell's gain against its base success."""
    means = np.array([cell["gain"]["mean"] for cell in cells])
    half = [0.0 if cell["gain"]["low"] is None else cell["gain"]["mean"] - cell["gain"]["low"] for cell in cells]
    trace = _trace(np.array([cell["base_success"] for cell in cells]), means, "cells", mode="markers")
    trace["text"] = [" ".join(part for part in (c["task"], c["difficulty"], c["setting"]) if part) for c in cells]
    trace["hovertemplate"] = "%{text}: %{x:.3f}, gain %{y:+.3f}<extra></extra>"
    trace["marker"] = {"color": colour_of(0), "size": 6}
    trace["error_y"] = {"type": "data", "array": json_numbers(np.array(half)), "thickness": 1, "width": 0}
    layout: Spec = {**_layout("success before RL", "gain"), "height": 320}
    layout["xaxis"]["type"] = "linear"
    return {"data": [trace], "layout": layout}


def figure_learning(pool: Record) -> Figure:
    """Three panels for papers: the learned share, the pool with the rebuilt one, gain against base success."""
    times, cells = pool["learning_times"], pool.get("gain_by_base_success") or []
    drawing = Figure(figsize=(10.4, 3.2), layout="constrained")
    left, right, base = drawing.subplots(1, 3)
    base.plot([c["base_success"] for c in cells], [c["gain"]["mean"] for c in cells], ".", color=colour_of(0))
    base.axhline(0, color="0.6", linewidth=0.8)
    base.set(xlabel="success before RL", ylabel="gain")
    left.step(*learned(times), where="post", color=colour_of(0), label="learned")
    if (uniform := log_uniform_line(times)) is not None:
        left.plot(*uniform, "--", color=colour_of(1), label="log-uniform")
    left.set(xlabel=X_TITLE, ylabel="share learned")
    right.plot(pool["curve"]["x"], pool["curve"]["mean"], "o-", color=colour_of(0), markersize=4, label="measured")
    right.plot(pool["curve"]["x"], times["rebuilt"]["mean"], "--", color=colour_of(1), label="rebuilt from steps")
    right.set(xlabel="x", ylabel="accuracy")
    for panel in (left, right):
        panel.set_xscale("log")
        panel.legend(frameon=False, fontsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    return drawing


def _trace(x: Array, y: Array, name: str, mode: str = "lines", **style: Any) -> Spec:
    hover = "%{y:.3f}<extra>" + name + "</extra>"
    points = {"x": json_numbers(x), "y": json_numbers(y)}
    return {"type": "scatter", **points, "name": name, "mode": mode, "hovertemplate": hover, **style}


def _layout(x_title: str, y_title: str) -> Spec:
    return {
        "margin": {"l": 56, "r": 12, "t": 10, "b": 52},
        "xaxis": {"type": "log", "dtick": 1, "exponentformat": "power", "title": {"text": x_title}},
        "yaxis": {"title": {"text": y_title}, "zeroline": False, "automargin": True},
        "legend": LEGEND,
        "shapes": [],
    }


def _cell_table(times: Record) -> str:
    rows = []
    for cell in times["by_cell"]:
        known = [x for x in cell["x_half"] if x is not None]
        ninety = [x for x in cell["x_ninety"] if x is not None]
        rows.append(
            [
                cell["task"],
                ", ".join(part for part in (cell["difficulty"], cell["setting"]) if part) or "–",
                f"{len(known)} of {len(cell['x_half'])}",
                format_significant(float(np.median(known)) if known else None),
                format_significant(float(np.median(ninety)) if ninety else None),
                format_number(_spread(known), 2),
            ]
        )
    header = ["task", "difficulty", "learned by", "median x at half", "at nine tenths", "sd over replicates, decades"]
    body = html_table("Learning time of each cell.", header, rows, 2)
    return f"<details><summary>{len(rows)} of {times['cells']} cells</summary>{body}</details>"


def _difficulty_table(tasks: Sequence[Record]) -> str:
    rows = [
        [
            " ".join(part for part in (one["task"], one["setting"]) if part),
            ", ".join(f"{d:g}" for d in one["used"]) or "–",
            format_with_interval(one["gamma"]["mean"], (one["gamma"]["low"], one["gamma"]["high"]), 2)
            if one["gamma"]
            else "fewer than three difficulties solved by every replicate",
            f"{one['largest_solved'][0]:.1f} → {one['largest_solved'][-1]:.1f}",
        ]
        for one in tasks
    ]
    header = ["task", "difficulties used", "γ (95%)", "largest solved, first → last budget"]
    caption = "Budget to an accuracy of one half against difficulty, T ∝ D^γ."
    return html_table(caption, header, rows, 1) if rows else ""


def _spread(known: Sequence[float]) -> float | None:
    return float(np.std(np.log10(known), ddof=1)) if len(known) > 1 else None
