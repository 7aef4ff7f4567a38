"""Successes problem by problem: contrasts paired by problem, and coverage."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from scipy import stats

from harness.analysis.data.grids import Array, Grid, base_means
from harness.analysis.data.table import Table
from harness.analysis.data.table_checks import budget_column
from harness.analysis.stats.contrasts import LEVEL, sum_of_variances


def problem_success_rates(table: Table, grid: Grid, task: str) -> tuple[Array, Array] | None:
    """Share of correct completions before and after, [n, P] each, over the problems that all replicates of a grid have.

    None where the problems table is absent, or lacks a replicate or either budget.
    """
    if table.problems is None or not {"run_id", "x", "task", "problem", "k", "n_correct"} <= set(
        table.problems.columns
    ):
        return None
    rows = table.frame.filter((pl.col("arm") == grid.arm) & (pl.col("task") == task))
    key = budget_column(table.frame)
    units = pl.DataFrame(grid.units, schema={"base_id": pl.String, "seed": pl.Int64}, orient="row").with_row_index(
        "row"
    )
    ends = rows.filter(pl.col(key).cast(pl.Float64).is_in([0.0, float(grid.budgets[-1])]))
    ends = (
        ends.select("run_id", "x", "base_id", "seed", (pl.col(key) > 0).alias("trained"))
        .unique()
        .join(units, on=["base_id", "seed"])
    )
    name = [part for part in ("setting", "difficulty", "problem") if part in table.problems.columns]
    scored = (
        table.problems.filter(pl.col("task") == task)
        .join(ends, on=["run_id", "x"])
        .select("row", "trained", pl.struct(name).rank("dense").alias("problem"), pl.col("n_correct") / pl.col("k"))
    )
    shared = scored.filter(pl.len().over("problem") == 2 * len(grid.units))
    if shared.is_empty():
        return None
    whole = shared.sort("trained", "row", "problem")["n_correct"].to_numpy().reshape(2, len(grid.units), -1)
    return whole[0], whole[1]


def gain_new_problems(table: Table, arms: Sequence[Grid], min_bases: int) -> dict[str, float | int | None] | None:
    """Pooled gain (first arm's change minus the second's, if given) had other problems of the same tasks been drawn.

    Problems count equally within a task, whatever their difficulty. Replicates and problems are both draws: the
    variance over replicates plus, task by task, that over problems.
    """
    changes = []
    for task in arms[0].columns:
        ends = [problem_success_rates(table, grid, task) for grid in arms]
        whole = [after - before for end in ends if end is not None for before, after in [end]]
        if len(whole) < len(arms) or len({change.shape for change in whole}) > 1 or whole[0].shape[1] < 2:
            return None
        changes.append(whole[0] - whole[1] if len(whole) > 1 else whole[0])
    pooled = base_means(np.stack([change.mean(axis=1) for change in changes]).mean(axis=0), arms[0].units, min_bases)
    if len(pooled) < 2:
        return None
    problems = sum(change.mean(axis=0).var(ddof=1) / change.shape[1] for change in changes) / len(changes) ** 2
    count = sum(change.shape[1] for change in changes)
    error, freedom = sum_of_variances(
        pooled.var(ddof=1) / len(pooled), len(pooled) - 1, float(problems), count - len(changes)
    )
    mean, half = float(pooled.mean()), float(stats.t.ppf(0.5 + LEVEL / 2, freedom)) * error
    return {"mean": mean, "low": mean - half, "high": mean + half, "n": len(pooled), "problems": count}
