"""Heat maps of the real arm's gain over two factors of the table, for each pair of which both vary."""

from typing import Any

import polars as pl

from harness.analysis.data.grids import ACCURACY
from harness.analysis.data.table import Table
from harness.analysis.report.chart_style import readable
from harness.analysis.report.figures import Figure
from harness.analysis.report.gain_charts import heat_cell, heat_maps
from harness.analysis.stats.contrasts import mean_record
from harness.analysis.stats.formatting import format_count

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
                heat_maps(panels, TITLES[second], TITLES[first]),
                columns=2,
            )
    return found


def gain_by_factors(table: Table, arm: str, role: str, first: str, second: str) -> list[dict[str, Any]]:
    """Rows {y: level of the first factor, x: of the second, gain, clear}: change from before RL to the largest budget,
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
    groups = sorted(change.group_by(first, second), key=lambda group: [*map(_level_order, group[0])])
    return [
        heat_cell(_level_name(first, y), _level_name(second, x), mean_record(values["change"].to_numpy()))
        for (y, x), values in groups
    ]


def _level_order(level: Any) -> tuple[str, float, str]:
    """Numbers, also those written as text or behind a name (thinking=8), by size, words by name."""
    name, _, value = str(level).rpartition("=")
    try:
        return name, float(value), ""
    except ValueError:
        return name, float("inf"), value


def _level_name(factor: str, level: Any) -> str:
    if factor in ("model_params", "pretrain_tokens"):
        return format_count(level)
    return readable(str(level)) if level != "" else "–"
