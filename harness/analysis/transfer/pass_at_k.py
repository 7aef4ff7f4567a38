"""Does RL teach, or make what the policy could already do more likely? pass@k, coverage and chance correction, before
and after (arXiv 2504.13837: pass@1 may rise while pass@k at large k does not)."""

import re
from collections.abc import Sequence
from math import comb
from typing import Any

import numpy as np
import polars as pl

from harness.analysis.data.grids import ACCURACY, Array, Grid, align_arms, align_pair, arm_grids, base_means
from harness.analysis.data.options import Options
from harness.analysis.data.table import Table
from harness.analysis.stats.contrasts import mean_record
from harness.analysis.transfer.paired_problems import problem_success_rates

COVERAGE = (0.1, 0.5, 0.9)  # a problem is covered at tau when at least this share of its completions is correct


def sharpening(
    table: Table, tasks: dict[str, list[str]], control: str | None, size: int | None, options: Options
) -> list[dict[str, Any]]:
    """One row per measure and role: before, after, the real arm's change, and minus the control's if there is one."""
    rows = []
    for name, value in _measures(table.frame).items():
        arms = arm_grids(table, size, value)
        for role, names in tasks.items():
            if row := _measure(arms, names, control, options):
                rows.append({"measure": name, "role": role, **row})
    for role, names in tasks.items():
        rows += _coverage(table, names, role, size, options)
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


def _measure(arms: dict[str, Grid], names: Sequence[str], control: str | None, options: Options) -> dict | None:
    """Before, after, change and control-corrected change of one measure over some tasks; None where not recorded."""
    alone = align_arms(arms, names, options.real_arm)
    if alone is None:
        return None
    row = _ends(alone[0].before, alone[0].values[:, -1], alone[0], options)
    shared = control and set(names) <= set(arms[control].columns)
    both = align_pair(*(arms[arm].select(names) for arm in (options.real_arm, control))) if shared else None
    if both is not None:
        difference = (both[0].change - both[1].change).mean(axis=1)
        row["minus_control"] = mean_record(base_means(difference, both[0].units, options.min_bases))
    return row


def _ends(before: Array, after: Array, grid: Grid, options: Options) -> dict[str, Any]:
    change = base_means((after - before).mean(axis=1), grid.units, options.min_bases)
    return {"before": float(before.mean()), "after": float(after.mean()), "change": mean_record(change)}


def _coverage(
    table: Table, names: Sequence[str], role: str, size: int | None, options: Options
) -> list[dict[str, Any]]:
    """Share of problems solved with at least a given success rate, before and after, tasks weighted equally."""
    arms = arm_grids(table, size)
    alone = align_arms(arms, names, options.real_arm)
    if alone is None:
        return []
    known = [end for task in names if (end := problem_success_rates(table, alone[0], task)) is not None]
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
    needed = {"run_id", "x", "task", "k", "n_correct"}
    if table.problems is None or not needed <= set(table.problems.columns):
        return []
    runs = table.frame.filter((pl.col("arm") == arm) & (True if size is None else pl.col("model_params") == size))
    ends = runs.filter((pl.col("x") == 0) | (pl.col("x") == pl.col("x").max().over("run_id")))
    ends = ends.select("run_id", "x", "task", "role", "base_id", "seed").unique()
    scored = table.problems.join(ends, on=["run_id", "x", "task"]).filter(pl.col("k") == pl.col("k").max())
    if scored.is_empty():
        return []
    n = int(scored["k"][0])
    ks = [2**i for i in range(n.bit_length())]
    ways = {k: np.array([1 - comb(n - c, k) / comb(n, k) for c in range(n + 1)]) for k in ks}
    own = [pl.Series(f"pass_{k}", ways[k][scored["n_correct"].to_numpy()]) for k in ks]
    unit = ["role", "base_id", "seed", pl.col("x") > 0]
    by_task = scored.with_columns(own).group_by(*unit, "task").agg(pl.col("^pass_.*$").mean())
    by_unit = by_task.group_by("role", "base_id", "seed", "x").agg(pl.col("^pass_.*$").mean()).sort("role", "x", "seed")
    rows = []
    for role in ("verified", "unverified"):
        for label, trained in (("before RL", False), ("after RL", True)):
            values = by_unit.filter(pl.col("role") == role, pl.col("x") == trained)
            for k in ks if values.height else []:
                one = mean_record(values[f"pass_{k}"].to_numpy())
                ends = {"value": one["mean"], "low": one["low"], "high": one["high"]}
                rows.append({"role": role, "label": label, "k": k, **ends})
    return [row for row in rows if len({other["label"] for other in rows if other["role"] == row["role"]}) == 2]
