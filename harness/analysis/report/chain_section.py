"""The section on the longest chain done: horizons against budget, and the product of steps against difficulty."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import altair as alt

from harness.analysis.report.chart_style import Chart, arm_channels, log_ticks, readable, tooltip
from harness.analysis.report.figures import Figure
from harness.analysis.report.gain_charts import interval_lines, interval_rows, lines_chart
from harness.analysis.report.html import Section, bullet_list, record_table
from harness.analysis.report.verdict_cards import record_interval
from harness.analysis.stats.formatting import Record, format_interval, format_number
from harness.analysis.verdict.chain_length import sentence

MOST = 6  # tasks that get a panel


def chain_section(records: Sequence[Record], real: str) -> Section | None:
    """Of chain_lengths, in words for the real arm. None where no task has so many difficulties."""
    if not records:
        return None
    figures = {
        "horizon": horizon_figure(records),
        "product_of_steps": product_figure(records),
        "x_at_half_by_difficulty": solved_figure(records),
    }
    words = bullet_list([sentence(one) for one in records if one["arm"] == real])
    table = record_table("Horizons over the budgets, in difficulties.", records, COLUMNS, 2)
    return Section("chains", "The longest chain done", words, figures, table)


def horizon_figure(records: Sequence[Record]) -> Figure:
    """The 50% horizon over budgets by arm, a panel for each task."""
    panels = {}
    for name in list(dict.fromkeys(map(_task, records)))[:MOST]:
        own = [one for one in records if _task(one) == name]
        rows = [row for one in own for row in interval_rows(readable(one["arm"]), one["x"], one["horizons"][0])]
        panels[name] = interval_lines(rows, "50% horizon, difficulty")
    best = max(records, key=lambda one: one["horizons"][0]["mean"][-1])
    title = (
        f"The longest chain done is {best['horizons'][0]['mean'][-1]:.1f}, by {readable(best['arm'])} on {_task(best)}"
    )
    caption = (
        "Difficulty at which accuracy crosses one half, interpolated: D.5 where D is always done and D + 1 never. "
        "Means over replicates with 95% t-intervals."
    )
    return Figure(title, caption, panels, columns=2)


def solved_figure(records: Sequence[Record]) -> Figure | None:
    """x at which a difficulty is solved, against difficulty, by arm, a panel for each task; None where no arm solves
    two of a task."""
    kept: dict[str, list[Record]] = {}
    for one in records:
        if len(rows := _solved_rows(one)) > 1 and (len(kept) < MOST or _task(one) in kept):
            kept.setdefault(_task(one), []).extend(rows)
    if not kept:
        return None
    channels = arm_channels(list(dict.fromkeys(row["label"] for rows in kept.values() for row in rows)))
    x = [row["x"] for rows in kept.values() for row in rows]
    panels = {name: solved_chart(rows, channels, (min(x) / 1.2, max(x) * 1.2)) for name, rows in kept.items()}
    caption = (
        "x at which accuracy reaches one half, geometric means over the replicates that reach it, of difficulties that "
        "most do. A straight line is T ∝ D^γ, its slope γ; difficulties solved before the first budget are not shown."
    )
    return Figure("How much RL a difficulty needs", caption, panels, columns=2)


def _solved_rows(record: Record) -> list[dict[str, Any]]:
    """Of the difficulties that more than half of the replicates solve within the budgets."""
    return [
        {"d": d, "x": one["x"], "replicates": one["n"], "label": readable(record["arm"])}
        for d, one in zip(record["difficulties"], record["solved"])
        if 2 * one["n"] > record["replicates"]
    ]


def solved_chart(rows: Sequence[Record], channels: Mapping[str, Any], domain: tuple[float, float]) -> Chart:
    """x at one half against difficulty, both on log axes; colours and the domain of x are those of all panels."""
    ticks = sorted({row["d"] for row in rows})
    scale = alt.Scale(type="log", domain=[0.9 * ticks[0], 1.1 * ticks[-1]])
    x = alt.X("d:Q", title="difficulty", scale=scale, axis=alt.Axis(values=ticks, format="~g"))
    y = alt.Y("x:Q", scale=alt.Scale(type="log", domain=domain), axis=log_ticks("x at accuracy one half"))
    return lines_chart(rows, x, y, tooltip("label", d="~g", x=".3~g", replicates="d"), channels)


def product_figure(records: Sequence[Record]) -> Figure | None:
    """Accuracy by difficulty at the last budget beside the product of steps, a panel for each arm and task."""
    own = [one for one in records if one["product"]][:MOST]
    if not own:
        return None
    panels = {f"{readable(one['arm'])}, {_task(one)}": product_chart(one) for one in own}
    caption = (
        "Measured at the last budget, and what p^D · c predicts of longer chains, p and c fitted to the difficulties "
        "that are trained."
    )
    return Figure("Longer chains beside the product of their steps", caption, panels, columns=2)


def product_chart(record: Record) -> Chart:
    """Accuracy by difficulty of a record with a product."""
    product = record["product"]
    lines = {
        "measured": zip(record["difficulties"], record["accuracy_at_last"]),
        "product of steps": zip(product["difficulties"], product["predicted"][-1]),
    }
    rows = [{"d": d, "value": y, "label": label} for label, points in lines.items() for d, y in points]
    x = alt.X("d:Q", title="difficulty", axis=alt.Axis(values=record["difficulties"], format="~g"))
    y = alt.Y("value:Q", title="accuracy", scale=alt.Scale(domain=[0, 1]))
    return lines_chart(rows, x, y, tooltip("label", d="~g", value=".3f"))


def _task(record: Record) -> str:
    return readable(" ".join(part for part in (record["task"], record["setting"]) if part))


def _trained_to(record: Record) -> str:
    return format_number(record["difficulties"][record["trained"] - 1], 0) if record["trained"] else "–"


def _doubling(record: Record) -> str:
    double = record["horizons"][0]["doubling"]
    return f"{double['mean']:.2f} ({record_interval(double, 2, sign=False)})" if double else "–"


COLUMNS: dict[str, Callable[[Record], str]] = {
    "arm": lambda one: one["arm"],
    "task": _task,
    "trained to": _trained_to,
    "50% before": lambda one: format_number(one["horizons"][0]["mean"][0], 2),
    "after": lambda one: format_number(one["horizons"][0]["mean"][-1], 2),
    "95%": lambda one: format_interval([one["horizons"][0][end][-1] for end in ("low", "high")], 2),
    "80% after": lambda one: format_number(one["horizons"][1]["mean"][-1], 2),
    "rise a decade": lambda one: format_number((one["horizons"][0]["rise_per_decade"] or {}).get("mean"), 2, True),
    "×compute to double": _doubling,
}
