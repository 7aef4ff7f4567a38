"""The section on the mechanism: when each cell reaches half of its own rise, the pool rebuilt from that, and gain
against base success."""

from collections.abc import Sequence

import altair as alt
import numpy as np

from harness.analysis.report.chart_style import (
    Chart,
    colour_of,
    horizontal_line,
    inline,
    line_channels,
    log_x,
    readable,
    tooltip,
)
from harness.analysis.report.figures import Figure, single
from harness.analysis.report.gain_charts import HEIGHT, lines_chart
from harness.analysis.report.html import Section, paragraphs
from harness.analysis.stats.formatting import Record, format_number


def learning_section(pools: Sequence[Record]) -> Section | None:
    """Of each pool with learning times: their shares over x, and the rebuilt pool. None where no pool has them."""
    known = [pool for pool in pools if pool.get("learning_times") and pool["learning_times"]["observed"]]
    if not known:
        return None
    parts = []
    for pool in known:
        parts += [
            f"<h3>{pool['role'].capitalize()} tasks</h3>",
            paragraphs([pool["learning_times"]["sentence"]]),
            learning_figures(pool),
        ]
    return Section("learning", "When each cell is learned", *parts)


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


def learned_share(times: Record) -> Chart:
    """The share of all cells and replicates learned by x, as steps, in which those before the first budget count from
    the start; dashed, the log-uniform distribution of the same spread through its middle."""
    x = np.sort([x for cell in times["by_cell"] for x in cell["x_half"] if x is not None])
    share = np.arange(1, len(x) + 1) / (times["observed"] + times["early"] + times["late"])
    lines = {"learned": zip(x, share)}
    if times["spread_decades"] is not None:
        middle, ends = len(x) // 2, np.array([0.0, share[-1]])
        lines["log-uniform"] = zip(x[middle] * 10.0 ** ((ends - share[middle]) * times["spread_decades"]), ends)
    told = tooltip("label", budget=",.4~g", share=".3f")
    y = alt.Y("share:Q", title="share of cells learned", scale=alt.Scale(zero=False))
    budget, channels = log_x("budget", "x at half of a cell's own rise"), line_channels(list(lines))
    layers = [
        alt.Chart(inline([{"budget": at, "share": value, "label": label} for at, value in line]))
        .mark_line(strokeWidth=2, interpolate="linear" if label == "log-uniform" else "step-after")
        .encode(budget, y, tooltip=told, **channels)
        for label, line in lines.items()
    ]
    return alt.layer(*layers).properties(height=HEIGHT)


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
        horizontal_line(),
        base.mark_rule(opacity=0.35).encode(alt.Y("low:Q"), alt.Y2("high:Q")),
        base.mark_point(filled=True, size=35, opacity=0.9).encode(alt.Y("gain:Q", title="gain in accuracy")),
    ).properties(height=HEIGHT)
