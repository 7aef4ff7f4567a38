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
    needed = {"run_id", "x", "task", "problem", "k", "n_correct"}
    if table.problems is None or not needed <= set(table.problems.columns):
        return None
    rows = table.frame.filter((pl.col("arm") == grid.arm) & (pl.col("task") == task))
    schema = {"base_id": pl.String, "seed": pl.Int64}
    units = pl.DataFrame(grid.units, schema=schema, orient="row").with_row_index("row")
    budget = pl.col(budget_column(table.frame)).cast(pl.Float64)
    labels = rows.filter(budget.is_in([0.0, float(grid.budgets[-1])])).select(
        "run_id", "x", *schema, (budget > 0).alias("trained")
    )
    ends = labels.unique().join(units, on=list(schema))
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
        whole = [ends[1] - ends[0] for grid in arms if (ends := problem_success_rates(table, grid, task))]
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
