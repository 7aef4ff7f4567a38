"""The sections of the report, each from the verdict records, the transfer report or the drawn series."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import polars as pl

from harness.analysis.data.table import Table
from harness.analysis.report import budget_charts as charts
from harness.analysis.report.chart_style import readable, sentence_case
from harness.analysis.report.curve_series import Axis, Series
from harness.analysis.report.figures import Figure
from harness.analysis.report.html import (
    Section,
    bullet_list,
    definition_list,
    folded,
    html_table,
    hyperlink,
    paragraphs,
    record_table,
    section,
)
from harness.analysis.report.verdict_cards import VERDICT_LABELS, record_interval
from harness.analysis.stats.formatting import (
    Record,
    counted,
    format_count,
    format_interval,
    format_number,
    format_p,
    format_significant,
)


def curves_section(drawn: Mapping[str, Sequence[Series]], axes: Sequence[Axis]) -> Section:
    """Learning curves of every arm, a panel for each role."""
    shown = {role: series for role, series in drawn.items() if series}
    if not shown:
        return Section("curves", "Learning curves", "<p>Nothing was evaluated above budget 0.</p>")
    labels = list(dict.fromkeys(one.label for series in shown.values() for one in series))
    panels = {
        f"{role.capitalize()} tasks": charts.learning_curves(series, axes, role, labels)
        for role, series in shown.items()
    }
    few = ", these of the first two arms only" if len(labels) > charts.MANY else ""
    caption = (
        "Accuracy over all tasks of a role, each arm: mean, 95% t-band over seeds (three or more), each seed (thin)"
        f"{few}. "
        "0, left of the dotted line: before RL."
    )
    figure = Figure(accuracy_title(shown), caption, panels, columns=2)
    return section("curves", "Learning curves", {"accuracy": figure})


def accuracy_title(drawn: Mapping[str, Sequence[Series]]) -> str:
    """What the real arm did on each role's tasks, beside the next arm, the same for all roles where they have it."""
    first = next(iter(drawn.values()))
    beside = next((one.label for one in first if one.arm != first[0].arm), None)
    parts = []
    for role, series in drawn.items():
        real = series[0]
        others = [one for one in series[1:] if one.arm != real.arm]
        others.sort(key=lambda one: one.label != beside)
        start = float(real.mean[0]) if real.start is None else real.start
        moved = f"{role} accuracy from {format_number(start, 2)} to {format_number(float(real.mean[-1]), 2)}"
        if others:
            moved += f" ({others[0].label} to {format_number(float(others[0].mean[-1]), 2)})"
        parts.append(moved)
    return f"{sentence_case(readable(first[0].arm))} takes {', '.join(parts)}"


def verdicts_section(verdicts: Sequence[Record]) -> Section:
    """The pools in a table, every task's record in a folded one."""
    pools, tasks = ([v for v in verdicts if (v["task"] == "all") == pooled] for pooled in (True, False))
    columns = _verdict_columns(several_sizes(pools))
    each = record_table("Each arm and task.", tasks, columns, 6)
    return section(
        "verdicts",
        "All verdicts",
        record_table("Each arm, over all tasks of a role.", pools, columns, 6),
        folded(f"{counted(len(tasks), 'verdict')} by task", each),
    )


def several_sizes(pools: Sequence[Record]) -> bool:
    """Whether a pool needs a column for the parameters of its policies."""
    return len({v.get("model_params") for v in pools}) > 1


def _verdict_columns(sized: bool) -> dict[str, Callable[[Record], str]]:
    def arm(v: Record) -> str:
        size = v.get("model_params")
        return f"{v['arm']}, {format_count(size)} parameters" if sized and size else v["arm"]

    return {
        "arm": arm,
        "tasks": lambda v: v["task"],
        "role": lambda v: v["role"],
        "rises": lambda v: v.get("rises", "–"),
        "line": lambda v: v.get("is_log_linear", "–"),
        "verdict": lambda v: ("withheld: " if v.get("withheld") else "") + VERDICT_LABELS[v["verdict"]],
        "slope per decade": lambda v: format_number(v["slope_per_decade"], sign=True),
        "95%": lambda v: format_interval(v["slope_ci"], sign=True),
        "slope × decades": lambda v: format_number(v.get("rise"), sign=True),
        "decades": lambda v: format_number(v["decades"], 1),
        "seeds": lambda v: str(v["n_seeds"]),
        "p (Holm)": lambda v: format_p(v.get("p_claim_holm")),
    }


REACH_COLUMNS: dict[str, Callable[[Record], str]] = {
    "task": lambda cell: cell["task"],
    "role": lambda cell: cell["role"],
    "difficulty": lambda cell: str(cell["difficulty"]),
    "setting": lambda cell: cell["setting"],
    "success before RL": lambda cell: format_number(cell["success"]),
    "of": lambda cell: f"{cell['completions']:,}",
    "groups with signal": lambda cell: f"{cell['signal']:.0%}",
    "reach": lambda cell: cell["state"],
}


def reach_section(found: Sequence[Record]) -> Section:
    """found: records of Reach (harness/study/reach.py), one for each kind of base."""
    parts = []
    for reach in found:
        caption = f"{reach['policy']}: {reach['source']}; groups of {reach['group_size']}."
        table = record_table(caption, reach["cells"], REACH_COLUMNS, 4)
        parts += [
            f"<h3>{escape(reach['policy'])}</h3>",
            paragraphs(reach["sentences"]),
            folded(counted(len(reach["cells"]), "cell"), table),
        ]
    return Section("reach", "What was within reach", "".join(parts))


def difficulty_section(
    parts: Mapping[str, Sequence[Series]], axes: Sequence[Axis], arm: str, factors: Mapping[str, Figure]
) -> Section:
    """Small multiples: each task, a line per difficulty or setting; heat maps of gain over two factors."""
    if not parts:
        return Section("difficulties", "By task and difficulty", "<p>Nothing was evaluated above budget 0.</p>")
    figure = Figure(
        f"Accuracy of {readable(arm)} on each task, by difficulty",
        "Mean over seeds, a line for each difficulty or setting; 0: before RL.",
        {readable(task): charts.cell_panel(series, axes) for task, series in parts.items()},
        columns=4,
    )
    return section("difficulties", "By task and difficulty", {"difficulties": figure, **factors})


def runs_section(data: Table, links: Mapping[str, str]) -> Section:
    """Each run with its arm, seed, largest budget and folder."""
    runs = data.frame.group_by("run_id", maintain_order=True).agg(
        pl.col("arm", "seed", "base_id").first(), pl.col("x").max(), pl.len().alias("rows")
    )
    rows = [
        [hyperlink(links[run], run) if run in links else run, arm, base, str(seed), format_significant(x), str(n)]
        for run, arm, seed, base, x, n in runs.rows()
    ]
    body = html_table("Runs of the table.", ["run", "arm", "base", "seed", "largest x", "rows"], rows, 3)
    return Section("runs", "Runs", folded(f"{len(rows)} runs", body))


def registered_section(found: Record) -> Section:
    """What was fixed before the first run, and apart from it what was decided after data were seen."""
    fixed = {name: found[name] for name in ("primary", "margins", "exclusions", "sizes")}
    later = bullet_list(found["decided_later"]) if found["decided_later"] else "<p>Nothing.</p>"
    html = f"<h3>Hypotheses</h3>{bullet_list(found['hypotheses'])}{definition_list(fixed)}<h3>Decided later</h3>{later}"
    return Section("registered", "Fixed before the first run", html)


def provenance_section(data: Table, context: Mapping[str, Any]) -> Section:
    """The exact commands and versions, and what was done to the table."""
    commands = context.get("commands")
    shown = f"<pre>{escape(chr(10).join(map(str, commands)))}</pre>" if commands else "<p>Not given.</p>"
    html = f"<h3>Commands</h3>{shown}"
    versions = {str(name): str(value) for name, value in (context.get("versions") or {}).items()}
    html += "<h3>Versions</h3>" + (definition_list(versions) if versions else "<p>Not given.</p>")
    html += "<h3>The table</h3>" + bullet_list([f"source: {data.source}", *data.notes])
    return Section("provenance", "Commands and versions", html)


def allocation_section(found: Record) -> Section:
    """The gain of the next decade, and the best split of a budget, or why it is not identified."""
    parts = [paragraphs([_split_sentence(found["pretraining_or_rl"]), _settings_sentence(found["within_rl"])])]
    for role, gains in found["marginal_gain"].items():
        rows = [
            [f"{format_significant(one['from'])} to {format_significant(one['to'])}", "measured", *_gain(one["gain"])]
            for one in gains["measured"]
        ]
        rows += [["the next", name, *_gain(one | {"mean": one["gain"]})] for name, one in gains["next_decade"].items()]
        parts.append(html_table(f"Gain of each decade of x, {role} tasks.", ["decade", "by", "gain", "95%"], rows, 2))
    return Section("allocation", "Where the next FLOP should go", "".join(parts))


def _gain(record: Record) -> list[str]:
    return [format_number(record["mean"], sign=True), record_interval(record)]


def _split_sentence(found: Record) -> str:
    if not found["identified"]:
        return f"Pretraining or RL: not identified; {found['reason']}."
    share = found["share_of_flops_for_rl"]
    return f"Pretraining or RL: {share['value']:.0%} for RL ({share['low']:.0%} to {share['high']:.0%}) is best."


def _settings_sentence(found: Record) -> str:
    if not found["identified"]:
        return f"Problems, group size or steps: not identified; {found['reason']}."
    words = [
        f"{name} {one['value']:.0f} ({one['low']:.0f} to {one['high']:.0f})" for name, one in found["best"].items()
    ]
    return f"Problems, group size or steps: best at {', '.join(words)}."
