"""The section on learning times: when each cell reaches half of its own rise, and the pool rebuilt from that."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from harness.analysis.report.html import Section, figure_slot, html_table, paragraphs
from harness.analysis.report.plotly_layout import LEGEND, Spec, colour_of, json_numbers
from harness.analysis.stats.formatting import format_number, format_significant

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
        ]
    return Section("learning", "When each cell is learned", "".join(parts), figures)


def learned(times: Record) -> tuple[Array, Array]:
    """(x ascending, share of all cells and replicates learned by x); those before the first budget count from there."""
    half = [x for cell in times["by_cell"] for x in cell["x_half"]]
    known = np.sort([x for x in half if x is not None])
    return known, np.arange(1, len(known) + 1) / len(half)


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


def figure_learning(pool: Record) -> Figure:
    """Both panels for papers: the learned share, and the pool with the rebuilt one."""
    times = pool["learning_times"]
    drawing = Figure(figsize=(7.6, 3.2), layout="constrained")
    left, right = drawing.subplots(1, 2)
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
        "xaxis": {"type": "log", "title": {"text": x_title}},
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
    return f"<details><summary>{len(rows)} cells</summary>{body}</details>"


def _spread(known: Sequence[float]) -> float | None:
    return float(np.std(np.log10(known), ddof=1)) if len(known) > 1 else None
