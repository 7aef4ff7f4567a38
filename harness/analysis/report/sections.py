"""The sections of the report, each from the verdict records, the transfer report or the drawn series."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
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
    figure_slot,
    html_table,
    hyperlink,
    paragraphs,
)
from harness.analysis.report.verdict_cards import VERDICT_LABELS, record_interval
from harness.analysis.stats.formatting import format_count, format_interval, format_number, format_p, format_significant

Record = Mapping[str, Any]

VERDICT_HEADER = (
    "arm",
    "tasks",
    "role",
    "rises",
    "line",
    "verdict",
    "slope per decade",
    "95%",
    "rise",
    "decades",
    "seeds",
    "p (Holm)",
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
        f"Accuracy over all tasks of a role, each arm: mean, 95% t-band over seeds, each seed (thin){few}. "
        "0, left of the dotted line: before RL."
    )
    figures = {"accuracy": Figure(accuracy_title(shown), caption, panels, columns=2)}
    return Section("curves", "Learning curves", figure_slot("accuracy", figures["accuracy"]), figures)


def accuracy_title(drawn: Mapping[str, Sequence[Series]]) -> str:
    """What the real arm did on each role's tasks, beside the next arm."""
    found = [sentence_case(readable(next(iter(drawn.values()))[0].arm)) + " takes"]
    parts = []
    for role, series in drawn.items():
        real = series[0]
        others = [one for one in series[1:] if one.arm != real.arm]
        moved = f"{role} accuracy from {format_number(_start(real), 2)} to {format_number(float(real.mean[-1]), 2)}"
        if others:
            moved += f" ({others[0].label} to {format_number(float(others[0].mean[-1]), 2)})"
        parts.append(moved)
    return f"{found[0]} {', '.join(parts)}"


def _start(one: Series) -> float:
    known = one.before[np.isfinite(one.before)]
    return float(known.mean() if len(known) else one.mean[0])


def laws_section(pools: Sequence[Record], drawn: Mapping[str, Series], axes: Sequence[Axis]) -> Section:
    """Every candidate law on the real arm's pools, residuals, held-out extrapolation and the table of laws."""
    parts, figures = [], {}
    for record in pools:
        one, fits, role = drawn.get(record["role"]), record.get("laws") or {}, record["role"]
        parts.append(f"<h3>{role.capitalize()} tasks</h3>")
        if one is None or not fits:
            parts.append("<p>No law has fewer parameters than there are budgets.</p>")
            continue
        figures[f"laws_{role}"] = law_figure(role, one, fits, axes)
        parts += [
            figure_slot(f"laws_{role}", figures[f"laws_{role}"]),
            law_fit_table(fits, record.get("rejections") or {}),
            extrapolation_table(record.get("extrapolation") or {}),
        ]
    return Section("laws", "Candidate laws", "".join(parts), figures)


def law_figure(role: str, one: Series, fits: Mapping[str, Record], axes: Sequence[Axis]) -> Figure:
    """The laws on the mean curve, and what each leaves over."""
    known = {name: fit["aicc"] for name, fit in fits.items() if fit.get("aicc") is not None}
    best = f": {readable(min(known, key=known.__getitem__))} describes it best" if known else ""
    return Figure(
        f"{len(fits)} laws on {role} accuracy{best}",
        "Left: every candidate law, fitted to the mean curve; bars are 95% intervals, open points are hidden in the "
        "held-out extrapolation. Right: what each law leaves over. Laws explain; they do not decide.",
        {"Measured and fitted": charts.law_fits(one, axes, fits), "Residuals": charts.residuals(one, axes, fits)},
        columns=2,
    )


def law_fit_table(fits: Mapping[str, Record], rejections: Mapping[str, float]) -> str:
    """Parameters with intervals, AICc differences, held-out error and rejection p of each law."""
    known = [fit["aicc"] for fit in fits.values() if fit.get("aicc") is not None]
    best = min(known, default=None)
    rows = []
    for name, fit in sorted(fits.items(), key=lambda item: (item[1].get("aicc") is None, item[1].get("aicc"))):
        words = [_parameter(key, value, fit["intervals"].get(key)) for key, value in fit["parameters"].items()]
        flags = [
            flag
            for flag, on in (("at bound", fit.get("at_bound")), ("not converged", fit.get("converged") is False))
            if on
        ]
        away = None if best is None or fit.get("aicc") is None else fit["aicc"] - best
        rows.append(
            [
                name,
                "; ".join(words),
                ", ".join(flags) or "–",
                format_number(away, 1),
                format_number(fit.get("held_out_error")),
                format_p(rejections.get(name)),
            ]
        )
    header = ["law", "parameters (95%)", "flags", "ΔAICc", "held-out error", "rejection p"]
    return html_table("Laws by ΔAICc (display only); held-out error relative to the gain.", header, rows, 3)


def _parameter(name: str, value: float | None, interval: Sequence[float] | str | None) -> str:
    if isinstance(interval, str) or interval is None:
        return f"{name} {format_significant(value)} (not identified)"
    return (
        f"{name} {format_significant(value)} ({format_significant(interval[0])} to {format_significant(interval[1])})"
    )


def extrapolation_table(found: Mapping[str, Record]) -> str:
    """The line's prediction of hidden budgets beside the two baselines."""
    names = {"last_4x": "last factor of 4", "top_half": "top half of the decades"}
    rows = [
        [
            names.get(key, key),
            str(e["hidden"]),
            format_number(e["line"]),
            format_number(e["last_value"]),
            format_number(e["last_slope"]),
            {True: "yes", False: "no", None: "–"}[e["covers"]],
            {True: "yes", False: "no", None: "–"}[e["passed"]],
        ]
        for key, e in found.items()
    ]
    header = ["hidden", "budgets", "line", "last value", "last slope", "line covers", "passed"]
    return html_table("Held-out extrapolation: error relative to the gain.", header, rows) if rows else ""


def verdicts_section(verdicts: Sequence[Record]) -> Section:
    """The pools in a table, every task's record in a folded one."""
    pools, tasks = ([v for v in verdicts if (v["task"] == "all") == pooled] for pooled in (True, False))
    sized = several_sizes(pools)
    html = html_table("Each arm, over all tasks of a role.", VERDICT_HEADER, [_verdict_row(v, sized) for v in pools], 6)
    each = html_table("Each arm and task.", VERDICT_HEADER, [_verdict_row(v, sized) for v in tasks], 6)
    html += f"<details><summary>{len(tasks)} verdicts by task</summary>{each}</details>"
    return Section("verdicts", "All verdicts", html)


def several_sizes(pools: Sequence[Record]) -> bool:
    """Whether a pool needs a column for the parameters of its policies."""
    return len({v.get("model_params") for v in pools}) > 1


def _verdict_row(v: Record, sized: bool) -> list[str]:
    word = ("withheld: " if v.get("withheld") else "") + VERDICT_LABELS[v["verdict"]]
    arm = f"{v['arm']}, {format_count(v['model_params'])} parameters" if sized and v.get("model_params") else v["arm"]
    return [
        arm,
        v["task"],
        v["role"],
        v.get("rises", "–"),
        v.get("is_log_linear", "–"),
        word,
        format_number(v["slope_per_decade"], sign=True),
        format_interval(v["slope_ci"], sign=True),
        format_number(v.get("rise"), sign=True),
        format_number(v["decades"], 1),
        str(v["n_seeds"]),
        format_p(v.get("p_claim_holm")),
    ]


def difficulty_section(parts: Mapping[str, Sequence[Series]], axes: Sequence[Axis], arm: str) -> Section:
    """Small multiples: each task, a line per difficulty or setting."""
    if not parts:
        return Section("difficulties", "By task and difficulty", "<p>Nothing was evaluated above budget 0.</p>")
    figure = Figure(
        f"Accuracy of {readable(arm)} on each task, by difficulty",
        "Mean over seeds, a line for each difficulty or setting; 0: before RL.",
        {readable(task): charts.cell_panel(series, axes) for task, series in parts.items()},
        columns=4,
    )
    figures = {"difficulties": figure}
    return Section("difficulties", "By task and difficulty", figure_slot("difficulties", figure), figures)


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
    return Section("runs", "Runs", f"<details><summary>{len(rows)} runs</summary>{body}</details>")


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
            [
                f"{format_significant(one['from'])} to {format_significant(one['to'])}",
                "measured",
                format_number(one["gain"]["mean"], sign=True),
                record_interval(one["gain"]),
            ]
            for one in gains["measured"]
        ]
        rows += [
            [
                "the next",
                name,
                format_number(one["gain"], sign=True),
                format_interval((one["low"], one["high"]), sign=True),
            ]
            for name, one in gains["next_decade"].items()
        ]
        parts.append(html_table(f"Gain of each decade of x, {role} tasks.", ["decade", "by", "gain", "95%"], rows, 2))
    return Section("allocation", "Where the next FLOP should go", "".join(parts))


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
