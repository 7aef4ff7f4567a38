"""Heat maps of gain: over two factors of the table, and of what a sequence of phases learned and forgot."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from harness.analysis.data.grids import ACCURACY
from harness.analysis.data.table import Table
from harness.analysis.report.chart_style import natural_order, readable
from harness.analysis.report.figures import Figure
from harness.analysis.report.gain_charts import heat_cell, heat_maps
from harness.analysis.report.html import Section, html_table
from harness.analysis.report.verdict_cards import record_interval
from harness.analysis.stats.contrasts import mean_record
from harness.analysis.stats.formatting import format_count, format_number

TITLES = {
    "family": "family",
    "difficulty": "difficulty",
    "setting": "setting",
    "step": "RL steps",
    "model_params": "parameters",
    "pretrain_tokens": "pretraining tokens",
}
PAIRS = (("family", "difficulty"), ("setting", "step"), ("pretrain_tokens", "model_params"))
MOST = 24  # levels of a factor that are still drawn
HEADER = ("arm", "phase", "before RL", "after its phase", "at the end", "change since its phase", "95%")


def factor_figures(table: Table, arm: str) -> dict[str, Figure]:
    """A heat map for each pair of factors that vary together, a panel for each role."""
    found = {}
    for first, second in PAIRS:
        panels: dict[str, list[dict[str, Any]]] = {}
        for role in table.roles(arm):
            rows = gain_by_factors(table, arm, role, first, second)
            if 1 < len({row["x"] for row in rows}) <= MOST and 1 < len({row["y"] for row in rows}) <= MOST:
                panels[f"{role.capitalize()} tasks"] = rows
        if panels:
            found[f"gain_by_{first}_and_{second}"] = Figure(
                f"Gain of {readable(arm)} by {TITLES[first]} and {TITLES[second]}",
                "Change in accuracy from before RL, mean over replicates; * marks 95% t-intervals off 0.",
                heat_maps(panels, x_title=TITLES[second], y_title=TITLES[first]),
                columns=2,
            )
    return found


def gain_by_factors(table: Table, arm: str, role: str, first: str, second: str) -> list[dict[str, Any]]:
    """Rows {y: level of the first factor, x: of the second, gain, shown}: change from before RL to the largest budget,
    or to each budget where a factor is the step. A run not evaluated before RL takes the mean of its base."""
    names = [name for name in (first, second) if name != "step"]
    own = table.frame.filter((pl.col("arm") == arm) & (pl.col("role") == role))
    if not {first, second} <= set(own.columns) or any(own[name].null_count() for name in (first, second)):
        return []
    if "pretrain_tokens" in names:
        own = own.with_columns(pl.col("pretrain_tokens").cast(pl.Float64).round_sig_figs(1).cast(pl.Int64))
    cells = (
        own.with_columns(score=ACCURACY)
        .group_by("run_id", "base_id", "x", *{"step", *names})
        .agg(pl.col("score").mean())
    )
    start = cells.filter(pl.col("x") == 0)
    by_run = start.select("run_id", *names, before="score")
    by_base = start.group_by("base_id", *names).agg(base_before=pl.col("score").mean())
    later = cells.filter(pl.col("x") > 0)
    if "step" not in (first, second):
        later = later.filter(pl.col("x") == pl.col("x").max().over("run_id"))
    paired = later.join(by_run, on=["run_id", *names], how="left").join(by_base, on=["base_id", *names], how="left")
    change = paired.with_columns(change=pl.col("score") - pl.coalesce("before", "base_before")).drop_nulls("change")
    groups = sorted(change.group_by(first, second), key=lambda group: [natural_order(str(level)) for level in group[0]])
    return [
        heat_cell(_level_name(first, y), _level_name(second, x), mean_record(values["change"].to_numpy()))
        for (y, x), values in groups
    ]


def _level_name(factor: str, level: Any) -> str:
    if factor in ("model_params", "pretrain_tokens"):
        return format_count(level)
    return readable(str(level)) if level != "" else "–"


def phase_accuracies(table: Table, arm: str) -> pl.DataFrame:
    """run_id, phase, phases_ended, accuracy: of a run the mean over the tasks of a phase, at the end of every phase
    and, where phases_ended is 0, before RL. Of the arm's largest policies; empty for an arm that is no sequence."""
    names = ("run_id", "phase", "phases_ended")
    largest = pl.col("model_params").eq_missing(pl.lit(table.sizes(arm)[-1]))
    own = table.frame.filter((pl.col("arm") == arm) & largest & pl.col("phase").is_not_null())
    at_end = pl.col("step") == pl.col("step").min().over("run_id", "phases_ended")
    own = own.filter(at_end & ((pl.col("phases_ended") > 0) | (pl.col("step") == 0)))
    return own.group_by(names).agg(accuracy=ACCURACY.mean()).sort(names)


def forgetting_matrix(table: Table, arm: str) -> list[dict[str, Any]]:
    """Rows {y: end of a phase, x: phase whose tasks are scored, gain, shown}: change in accuracy from before RL, mean
    over runs."""
    found, names = phase_accuracies(table, arm), _phase_names(table, arm)
    before = found.filter(pl.col("phases_ended") == 0).select("run_id", "phase", before="accuracy")
    change = found.filter(pl.col("phases_ended") > 0).join(before, on=["run_id", "phase"])
    change = change.with_columns(change=pl.col("accuracy") - pl.col("before")).sort("phases_ended", "phase")
    rows = []
    for (ended, phase), part in change.group_by("phases_ended", "phase", maintain_order=True):
        rows.append(heat_cell(f"after {names[ended]}", names[phase], mean_record(part["change"].to_numpy())))
    return rows


def sequence_section(table: Table) -> Section | None:
    """A heat map for each arm that is a sequence, and what the end left of each phase; None without such arms."""
    if not {"phase", "phases_ended", "step"} <= set(table.frame.columns):
        return None
    panels = {readable(arm): rows for arm in table.arms if (rows := forgetting_matrix(table, arm))}
    if not panels:
        return None
    figure = Figure(
        "Accuracy on the tasks of each phase, at the end of every phase",
        "Change in accuracy from before RL, mean over runs; * marks 95% t-intervals off 0.",
        heat_maps(panels, x_title="tasks of", y_title="measured"),
        columns=2,
    )
    rows = [row for arm in table.arms for row in _rows(table, arm)]
    caption = "Change since its phase: below 0 is forgetting (backward transfer, arXiv 1706.08840)."
    return Section("sequence", "What was forgotten", {"forgetting": figure}, html_table(caption, HEADER, rows, 2))


def _rows(table: Table, arm: str) -> list[list[str]]:
    found, names, rows = phase_accuracies(table, arm), _phase_names(table, arm), []
    last = found["phases_ended"].max()
    wide = found.pivot("phases_ended", index=["run_id", "phase"], values="accuracy")
    for phase, name in names.items():
        own = wide.filter(pl.col("phase") == phase)
        places = [str(column) for column in (0, phase, last)]
        if not set(places) <= set(wide.columns):
            continue
        change = mean_record((own[places[2]] - own[places[1]]).drop_nulls().to_numpy())
        means = [format_number(mean_record(own[column].drop_nulls().to_numpy())["mean"]) for column in places]
        rows.append([arm, name, *means, format_number(change["mean"], sign=True), record_interval(change)])
    return rows


def _phase_names(table: Table, arm: str) -> Mapping[int, str]:
    """Its number with its task, or with how many it has, in order."""
    own = table.frame.filter((pl.col("arm") == arm) & pl.col("phase").is_not_null())
    tasks = own.group_by("phase").agg(pl.col("task").unique()).sort("phase")
    return {
        phase: f"{phase} {readable(names[0]) if len(names) == 1 else f'({len(names)} tasks)'}"
        for phase, names in tasks.rows()
    }
