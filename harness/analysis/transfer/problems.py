"""What the counts of each problem show: contrasts paired by problem, and pass@k and coverage before and after RL.

Does RL teach, or make what the policy could already do more likely (arXiv 2504.13837: pass@1 may rise while pass@k at
large k does not)?
"""

import re
from collections.abc import Sequence
from math import comb
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from harness.analysis.data.grids import ACCURACY, Array, Grid, align_arms, arm_grids, base_means
from harness.analysis.data.options import Options
from harness.analysis.data.table import Table
from harness.analysis.data.table_checks import CELL, budget_column, typed_problems
from harness.analysis.stats.contrasts import LEVEL, mean_record, sum_of_variances

COVERAGE = (0.1, 0.5, 0.9)  # a problem is covered at tau when at least this share of its completions is correct


def scored_problems(table: Table, *columns: str) -> pl.DataFrame:
    """A row per run, budget and problem with the labels of its run; empty where the problems table is absent or lacks
    one of the columns."""
    needed = ("run_id", "x", *CELL, "k", "n_correct", *columns)
    if table.problems is None or not {*needed} - {*CELL[1:]} <= set(table.problems.columns):
        return pl.DataFrame()
    budget = pl.col(budget_column(table.frame)).cast(pl.Float64).alias("budget")
    last = (pl.col("x") == pl.col("x").max().over("run_id")).alias("is_last")
    labels = table.frame.select("run_id", "x", "task", "arm", "role", "base_id", "seed", budget, last).unique()
    problems = typed_problems(table.problems).select(needed)
    return problems.join(labels, on=["run_id", "x", "task"], maintain_order="left")


def problem_success_rates(problems: pl.DataFrame, grid: Grid, task: str) -> tuple[Array, Array] | None:
    """Share of correct completions before and after, [n, P] each, over the problems that all replicates of a grid have.

    problems: of `scored_problems`. None where these lack a replicate or either budget.
    """
    if problems.is_empty():
        return None
    units = pl.DataFrame(grid.units, {"base_id": pl.String, "seed": pl.Int64}, orient="row").with_row_index("row")
    ends = pl.col("budget").is_in([0.0, float(grid.budgets[-1])])
    own = problems.filter(pl.col("arm") == grid.arm, pl.col("task") == task, ends).join(units, on=["base_id", "seed"])
    name = pl.struct("setting", "difficulty", "problem").rank("dense")
    scored = own.select("row", "budget", name.alias("name"), rate=pl.col("n_correct") / pl.col("k"))
    shared = scored.filter(pl.len().over("name") == 2 * len(grid.units))
    if shared.is_empty():
        return None
    before, after = shared.sort("budget", "row", "name")["rate"].to_numpy().reshape(2, len(grid.units), -1)
    return before, after


def gain_new_problems(table: Table, arms: Sequence[Grid], min_bases: int) -> dict[str, float | int | None] | None:
    """Pooled gain (first arm's change minus the second's, if given) had other problems of the same tasks been drawn.

    Problems count equally within a task, whatever their difficulty. Replicates and problems are both draws: the
    variance over replicates plus, task by task, that over problems.
    """
    changes, scored = [], scored_problems(table, "problem")
    for task in arms[0].columns:
        whole = [ends[1] - ends[0] for grid in arms if (ends := problem_success_rates(scored, grid, task))]
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


def sharpening(table: Table, tasks: dict[str, list[str]], options: Options) -> list[dict[str, Any]]:
    """One row per measure and role: before, after, the real arm's change, and minus the control's if there is one."""
    rows = []
    for name, value in _measures(table.frame).items():
        arms = arm_grids(table, value)
        for role, names in tasks.items():
            if row := _measure(arms, names, options):
                rows.append({"measure": name, "role": role, **row})
    arms, problems = arm_grids(table), scored_problems(table, "problem")
    for role, names in tasks.items():
        rows += _coverage(arms, problems, names, role, options)
    return rows


def _measures(frame: pl.DataFrame) -> dict[str, pl.Expr]:
    """mean@1, every pass_at_k and majority_at_k that the table holds, and accuracy beyond guessing."""
    found = {"mean@1": ACCURACY}
    if "guess_rate" in frame.columns:
        guess = pl.col("guess_rate").cast(pl.Float64)
        found["mean@1 beyond guessing"] = (ACCURACY - guess) / (1 - guess)
    for kind in ("pass", "majority"):
        columns = (re.fullmatch(rf"{kind}_at_(\d+)", name) for name in frame.columns)
        for column in sorted(filter(None, columns), key=lambda column: int(column[1])):
            found[f"{kind}@{column[1]}"] = pl.col(column[0])
    return found


def _measure(arms: dict[str, Grid], names: Sequence[str], options: Options) -> dict | None:
    """Before, after, change and control-corrected change of one measure over some tasks; None where not recorded."""
    alone = align_arms(arms, names, options.real_arm)
    if alone is None:
        return None
    row = _ends(alone[0].before, alone[0].values[:, -1], alone[0], options)
    both = align_arms(arms, names, options.real_arm, options.primary_control)
    if both is not None:
        difference = (both[0].change - both[1].change).mean(axis=1)
        row["minus_control"] = mean_record(base_means(difference, both[0].units, options.min_bases))
    return row


def _ends(before: Array, after: Array, grid: Grid, options: Options) -> dict[str, Any]:
    change = base_means((after - before).mean(axis=1), grid.units, options.min_bases)
    return {"before": float(before.mean()), "after": float(after.mean()), "change": mean_record(change)}


def _coverage(
    arms: dict[str, Grid], problems: pl.DataFrame, names: Sequence[str], role: str, options: Options
) -> list[dict[str, Any]]:
    """Share of problems solved with at least a given success rate, before and after, tasks weighted equally."""
    alone = align_arms(arms, names, options.real_arm)
    if alone is None:
        return []
    known = [end for task in names if (end := problem_success_rates(problems, alone[0], task)) is not None]
    if len(known) < len(names):
        return []
    rows = []
    for tau in COVERAGE:
        before, after = (np.stack([(end[i] >= tau).mean(axis=1) for end in known], axis=1) for i in (0, 1))
        rows.append({"measure": f"coverage at {tau}", "role": role, **_ends(before, after, alone[0], options)})
    return rows


def pass_curves(table: Table, arm: str, size: int | None) -> list[dict[str, Any]]:
    """pass@k of an arm before and after RL at k = 1, 2, 4 … up to the completions of a problem, pooled over each role's
    tasks: rows {role, label, k, value, low, high}, t-intervals over replicates. Empty without a problems table.

    The unbiased estimate of Chen et al. 2021 (arXiv 2107.03374), 1 - C(n - c, k) / C(n, k), of n completions c right.
    """
    problems = scored_problems(table.of_size(size))
    own = problems.filter(pl.col("arm") == arm) if len(problems) else problems
    if own.is_empty():
        return []
    scored = own.filter((pl.col("x") == 0) | pl.col("is_last")).filter(pl.col("k") == pl.col("k").max())
    n = int(scored["k"][0])
    chances = [(c, 2**i, 1 - comb(n - c, 2**i) / comb(n, 2**i)) for i in range(n.bit_length()) for c in range(n + 1)]
    passes = scored.join(pl.DataFrame(chances, ["n_correct", "at", "chance"], orient="row"), on="n_correct")
    pool = ["role", pl.col("x") > 0, "at"]
    by_task = passes.group_by(*pool, "base_id", "seed", "task").agg(pl.col("chance").mean())
    by_unit = by_task.group_by("role", "x", "at", "base_id", "seed").agg(pl.col("chance").mean())
    both = by_unit.filter(pl.col("role") != "placebo", pl.col("x").n_unique().over("role") == 2)
    ordered = both.sort("role", "x", "at", "seed", descending=[True, False, False, False])
    rows = []
    for (role, trained, k), part in ordered.group_by("role", "x", "at", maintain_order=True):
        one = mean_record(part["chance"].to_numpy())
        label = "after RL" if trained else "before RL"
        rows.append(
            {"role": role, "label": label, "k": k, "value": one["mean"], "low": one["low"], "high": one["high"]}
        )
    return rows
