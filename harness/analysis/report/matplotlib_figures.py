"""Figures for papers (PNG and PDF), drawn by matplotlib from the same series as the page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.analysis.report.curve_series import Axis, Series, shared_axes
from harness.analysis.report.learning_section import figure_learning
from harness.analysis.report.plotly_charts import HIDDEN_FACTOR, MANY, has_spread
from harness.analysis.report.plotly_layout import colour_of
from harness.analysis.report.transfer_section import forest
from harness.analysis.stats.laws import evaluate

MARKERS = ("o", "s", "D", "^", "X", "P", "*", "h")
LINES = ("-", "--", ":", "-.")
LAW_POINTS = 200


def save_figures(
    folder: Path,
    drawn: Mapping[str, Sequence[Series]],
    pools: Sequence[Mapping[str, Any]],
    transfer: Mapping[str, Any],
    by_task: Mapping[str, Sequence[Series]],
) -> list[Path]:
    """Writes each figure that the data allow as PNG and PDF; returns the paths."""
    found: dict[str, Figure] = {}
    for role, series in drawn.items():
        if series:
            found[f"curves_{role}"] = figure_curves(series)
    for pool in pools:
        series = drawn.get(pool["role"])
        if series and pool.get("laws"):
            found[f"laws_{pool['role']}"] = figure_laws(series[0], pool["laws"])
        if (times := pool.get("learning_times")) and times["observed"]:
            found[f"learning_{pool['role']}"] = figure_learning(pool)
    if forest(transfer):
        found["transfer"] = figure_transfer(transfer)
    if by_task:
        found["difficulties"] = figure_difficulties(by_task)
    folder.mkdir(parents=True, exist_ok=True)
    return [path for name, drawing in found.items() for path in _save(drawing, folder / name)]


def _save(drawing: Figure, stem: Path) -> list[Path]:
    paths = [stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "pdf")]
    drawing.draw_without_rendering()  # lays the figure out, once for both files
    drawing.set_layout_engine("none")
    drawing.savefig(paths[0], dpi=200)
    drawing.savefig(paths[1], metadata={"CreationDate": None})  # the same table gives the same file
    return paths


def figure_curves(series: Sequence[Series]) -> Figure:
    """Mean of each arm against the budget, the policy before RL at the left; 95% band and seeds where `has_spread`."""
    drawing, panel, axis = _log_panel(series)
    for i, one in enumerate(series):
        if has_spread(i, series):
            panel.fill_between(one.x, one.low, one.high, color=colour_of(i), alpha=0.18, linewidth=0)
            panel.plot(one.x, one.accuracy.T, color=colour_of(i), alpha=0.3, linewidth=0.7)
        panel.plot(
            one.x,
            one.mean,
            color=colour_of(i),
            marker=MARKERS[i % 8],
            linestyle=LINES[(i + i // 8) % 4],
            label=one.label,
            markersize=4,
        )
        _before(panel, one, axis, i)
    panel.set_ylabel("accuracy")
    if len(series) > MANY:  # within it would cover the curves
        drawing.set_figwidth(6.8)
        drawing.legend(frameon=False, fontsize=8, loc="outside right upper")
    else:
        panel.legend(frameon=False, fontsize=8)
    return drawing


def figure_laws(one: Series, fits: Mapping[str, Mapping]) -> Figure:
    """Every candidate law on the mean curve, points hidden in extrapolation open, and residuals below."""
    drawing = Figure(figsize=(5.2, 5.0), layout="constrained")
    above, below = drawing.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    axis = shared_axes([one])[0]
    grid = np.geomspace(one.x[0], one.x[-1], LAW_POINTS)
    for i, (name, fit) in enumerate(fits.items()):
        style = {"color": colour_of(i + 1), "linestyle": LINES[i % 4], "linewidth": 1.2}
        above.plot(grid, evaluate(name, fit["parameters"], grid), label=name, **style)
        if name != "constant":  # its residuals are the curve itself
            below.plot(one.x, one.mean - evaluate(name, fit["parameters"], one.x), marker=".", **style)
    error = np.nan_to_num(np.stack([one.mean - one.low, one.high - one.mean]))
    hidden = one.x > one.x[-1] / HIDDEN_FACTOR * (1 + 1e-9)
    for mask, face in ((~hidden, colour_of(0)), (hidden, "white")):
        above.errorbar(one.x[mask], one.mean[mask], error[:, mask], fmt="o", color=colour_of(0), mfc=face, markersize=5)
    _before(above, one, axis, 0)
    below.axhline(0, color="0.6", linewidth=0.8)
    _dress(below, axis)
    above.tick_params(labelbottom=False)
    above.set_ylabel("accuracy")
    below.set_ylabel("residual")
    drawing.legend(*above.get_legend_handles_labels(), frameon=False, fontsize=7, ncols=4, loc="outside upper center")
    return drawing


def figure_transfer(transfer: Mapping[str, Any]) -> Figure:
    """Control-corrected gain of each task and pool, with 95% intervals."""
    rows = forest(transfer)
    drawing = Figure(figsize=(5.2, 1.0 + 0.28 * len(rows)), layout="constrained")
    panel = drawing.subplots()
    roles = list(dict.fromkeys(role for _, role, _ in rows))
    for i, role in enumerate(roles):
        own = [(y, gain) for y, (_, of, gain) in enumerate(rows) if of == role]
        means = np.array([gain["mean"] for _, gain in own])
        low, high = (
            np.array([gain[side] if gain[side] is not None else gain["mean"] for _, gain in own])
            for side in ("low", "high")
        )
        panel.errorbar(
            means,
            [y for y, _ in own],
            xerr=[means - low, high - means],
            fmt=MARKERS[i],
            color=colour_of(i),
            label=role,
            markersize=5,
        )
    panel.set_yticks(range(len(rows)), [label for label, _, _ in rows], fontsize=8)
    panel.invert_yaxis()
    panel.axvline(0, color="0.6", linewidth=0.8)
    panel.set_xlabel(f"gain in accuracy minus {transfer['control']}" if transfer["control"] else "change in accuracy")
    panel.legend(frameon=False, fontsize=8)
    return drawing


def figure_difficulties(by_task: Mapping[str, Sequence[Series]]) -> Figure:
    """Small multiples: each task, a line per difficulty or setting."""
    columns = min(4, len(by_task))
    rows = -(-len(by_task) // columns)
    drawing = Figure(figsize=(2.6 * columns, 2.1 * rows + 0.4), layout="constrained")
    panels = drawing.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    axis = shared_axes([one for series in by_task.values() for one in series])[0]
    for panel, (task, series) in zip(panels, by_task.items()):
        for i, one in enumerate(series):
            panel.plot(
                one.x, one.mean, color=colour_of(i), marker=MARKERS[i % 8], markersize=3, linewidth=1, label=one.label
            )
            _before(panel, one, axis, i, size=3)
        panel.set_title(task, fontsize=8)
        panel.set_ylim(0, 1)
        _dress(panel, axis)
        panel.set_xlabel("")
        panel.tick_params(labelsize=6)
    for panel in panels[len(by_task) :]:
        panel.set_visible(False)
    panels[0].legend(frameon=False, fontsize=5)
    drawing.supxlabel(axis.title, fontsize=8)
    return drawing


def _log_panel(series: Sequence[Series]) -> tuple[Figure, Axes, Axis]:
    drawing = Figure(figsize=(5.2, 3.6), layout="constrained")
    panel = drawing.subplots()
    axis = shared_axes(series)[0]
    _dress(panel, axis)
    panel.axvline(axis.gap, color="0.6", linestyle=":", linewidth=0.8)
    return drawing, panel, axis


def _dress(panel: Axes, axis: Axis) -> None:
    """A log axis with its own ticks, budget 0 among them."""
    panel.set_xscale("log")
    panel.set_xlim(*(10**end for end in axis.range))
    panel.set_xticks([value for value, _ in axis.ticks], [text for _, text in axis.ticks], fontsize=7)
    panel.minorticks_off()
    panel.set_xlabel(axis.title)
    panel.spines[["top", "right"]].set_visible(False)


def _before(panel: Axes, one: Series, axis: Axis, i: int, size: float = 6) -> None:
    """The policy before RL: every seed as a dot, their mean as an open marker."""
    known = one.before[np.isfinite(one.before)]
    if len(known):
        panel.plot(np.full(len(known), axis.zero), known, ".", color=colour_of(i), alpha=0.3, markersize=3)
        panel.plot([axis.zero], [known.mean()], MARKERS[i % 8], color=colour_of(i), mfc="white", markersize=size)
