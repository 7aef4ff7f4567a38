"""The section on the mechanism: when each cell reaches half of its own rise, the pool rebuilt from that, how budgets to
a threshold grow with difficulty, and gain against base success."""

from collections.abc import Sequence

import altair as alt
import numpy as np

from harness.analysis.report.chart_style import Chart, colour_of, inline, level, line_channels, log_x, readable, tooltip
from harness.analysis.report.curve_series import Array
from harness.analysis.report.figures import Figure, single
from harness.analysis.report.gain_charts import HEIGHT, lines_chart
from harness.analysis.report.html import Section, folded, paragraphs, record_table, section
from harness.analysis.stats.formatting import Record, counted, format_number, format_significant, format_with_interval


def learning_section(pools: Sequence[Record]) -> Section | None:
    """Of each pool with learning times: their shares over x, the rebuilt pool, and the medians of the cells. None where
    no pool has them."""
    known = [pool for pool in pools if pool.get("learning_times") and pool["learning_times"]["observed"]]
    if not known:
        return None
    parts = []
    for pool in known:
        parts += [
            f"<h3>{pool['role'].capitalize()} tasks</h3>",
            paragraphs([pool["learning_times"]["sentence"]]),
            learning_figures(pool),
            _cell_table(pool["role"], pool["learning_times"]),
            _difficulty_table(pool["role"], pool.get("difficulty_scaling") or []),
        ]
    return section("learning", "When each cell is learned", *parts)


def learning_figures(pool: Record) -> dict[str, Figure]:
    """The learned share beside the rebuilt pool; gain against base success, where it was computed."""
    times, role, cells = pool["learning_times"], pool["role"], pool.get("gain_by_base_success")
    spread = times["spread_decades"]
    over = "" if spread is None else f", their times spread over {format_number(spread, 1)} decades"
    found = {
        f"learning_times_{role}": Figure(
            f"{times['observed']} learning times on {role} tasks{over}",
            "Left: share of cells and replicates that have reached half of their own rise; dashed, the log-uniform "
            "distribution of the same spread. Right: the pool, and the pool rebuilt from steps at these times.",
            {"Share learned": learned_share(times), "The pool rebuilt": rebuilt_pool(pool)},
            columns=2,
        )
    }
    if cells:
        most = max(cells, key=lambda cell: cell["gain"]["mean"])
        title = f"The {role} cell that gains most starts at {format_number(most['base_success'], 2)}"
        caption = "Gain of each cell (task, difficulty, setting) against its success before RL, with 95% intervals."
        found[f"gain_by_base_success_{role}"] = single(title, caption, base_success_chart(cells))
    return found


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


def learned_share(times: Record) -> Chart:
    """The learned share over x, as steps, and the log-uniform distribution of the same spread, dashed."""
    x, share = learned(times)
    rows = [{"budget": at, "share": y, "label": "learned"} for at, y in zip(x, share)]
    if (uniform := log_uniform_line(times)) is not None:
        rows += [{"budget": at, "share": y, "label": "log-uniform"} for at, y in zip(*uniform)]
    labels = list(dict.fromkeys(row["label"] for row in rows))
    told = tooltip("label", budget=",.4~g", share=".3f")
    y = alt.Y("share:Q", title="share of cells learned", scale=alt.Scale(zero=False))
    x, channels = log_x("budget", "x at half of a cell's own rise"), line_channels(labels)
    lines = [
        alt.Chart(inline([row for row in rows if row["label"] == label]))
        .mark_line(strokeWidth=2, interpolate="linear" if label == "log-uniform" else "step-after")
        .encode(x, y, tooltip=told, **channels)
        for label in labels
    ]
    return alt.layer(*lines).properties(height=HEIGHT)


def rebuilt_pool(pool: Record) -> Chart:
    """The measured pool beside the rebuilt one."""
    x, rebuilt = pool["curve"]["x"], pool["learning_times"]["rebuilt"]["mean"]
    rows = [{"budget": at, "accuracy": y, "label": "measured"} for at, y in zip(x, pool["curve"]["mean"])]
    rows += [{"budget": at, "accuracy": y, "label": "rebuilt from steps"} for at, y in zip(x, rebuilt)]
    y = alt.Y("accuracy:Q", title="accuracy", scale=alt.Scale(zero=False))
    return lines_chart(rows, log_x("budget", "x, the budget"), y, tooltip("label", budget=",.4~g", accuracy=".3f"))


def base_success_chart(cells: Sequence[Record]) -> Chart:
    """Each cell's gain against its success before RL, with 95% intervals."""
    rows = [
        {
            "cell": readable(" ".join(part for part in (c["task"], c["difficulty"], c["setting"]) if part)),
            "before": c["base_success"],
            **{name: c["gain"][end] for name, end in (("gain", "mean"), ("low", "low"), ("high", "high"))},
        }
        for c in cells
    ]
    x = alt.X("before:Q", title="success before RL", scale=alt.Scale(zero=True))
    told = tooltip("cell", before=".3f", gain="+.3f")
    base = alt.Chart(inline(rows)).encode(x, color=alt.value(colour_of(0)), tooltip=told)
    return alt.layer(
        level(),
        base.mark_rule(opacity=0.35).encode(alt.Y("low:Q"), alt.Y2("high:Q")),
        base.mark_point(filled=True, size=35, opacity=0.9).encode(alt.Y("gain:Q", title="gain in accuracy")),
    ).properties(height=HEIGHT)


def _cell_table(role: str, times: Record) -> str:
    def known(cell: Record, name: str) -> list[float]:
        return [x for x in cell[name] if x is not None]

    columns = {
        "task": lambda cell: cell["task"],
        "difficulty": lambda cell: ", ".join(part for part in (cell["difficulty"], cell["setting"]) if part) or "–",
        "learned by": lambda cell: f"{len(known(cell, 'x_half'))} of {len(cell['x_half'])}",
        "median x at half": lambda cell: _median(known(cell, "x_half")),
        "at nine tenths": lambda cell: _median(known(cell, "x_ninety")),
        "sd over replicates, decades": lambda cell: format_number(_spread(known(cell, "x_half")), 2),
    }
    body = record_table(f"Learning time of each cell, {role} tasks.", times["by_cell"], columns, 2)
    return folded(f"{len(times['by_cell'])} of {counted(times['cells'], 'cell')}", body)


def _difficulty_table(role: str, tasks: Sequence[Record]) -> str:
    def gamma(one: Record) -> str:
        found = one["gamma"]
        if not found:
            return "fewer than three difficulties solved by every replicate"
        return format_with_interval(found["mean"], (found["low"], found["high"]), 2)

    columns = {
        "task": lambda one: " ".join(part for part in (one["task"], one["setting"]) if part),
        "difficulties used": lambda one: ", ".join(f"{d:g}" for d in one["used"]) or "–",
        "γ (95%)": gamma,
        "largest solved, first → last budget": lambda one: " → ".join(
            f"{one['largest_solved'][k]:.1f}" for k in (0, -1)
        ),
    }
    caption = f"Budget to an accuracy of one half against difficulty on {role} tasks, T ∝ D^γ."
    return record_table(caption, tasks, columns)


def _median(known: Sequence[float]) -> str:
    return format_significant(float(np.median(known)) if known else None)


def _spread(known: Sequence[float]) -> float | None:
    return float(np.std(np.log10(known), ddof=1)) if len(known) > 1 else None
