"""The real arm beside every other arm: contrasts, matched verified gain, trained by evaluated family."""

from typing import Any

import numpy as np
import polars as pl

from harness.analysis.data.grids import Array, Grid, align_arms, base_means
from harness.analysis.data.options import Options
from harness.analysis.data.table import Table
from harness.analysis.stats.contrasts import add_holm, mean_record


def contrasts(arms: dict[str, Grid], tasks: list[str], options: Options) -> list[dict[str, Any]]:
    """The real arm minus each other arm on the unverified tasks, Holm-corrected: beside the primary, not instead."""
    others = [arm for arm in arms if arm not in (options.real_arm, options.primary_control, options.direct_arm)]
    rows: list[dict[str, Any]] = []
    for arm in others:
        found = align_arms(arms, tasks, options.real_arm, arm)
        if found is None:
            continue
        difference = base_means(found[0].change - found[1].change, found[0].units, options.min_bases).mean(axis=1)
        own = base_means(found[1].change, found[1].units, options.min_bases).mean(axis=1)
        rows.append({"arm": arm, "change": mean_record(own), "real_minus_arm": mean_record(difference)})
    add_holm([row["real_minus_arm"] for row in rows])
    return rows


def matched_verified_gain(arms: dict[str, Grid], tasks: dict[str, list[str]], options: Options) -> list[dict[str, Any]]:
    """Unverified gain of the real arm minus each other arm's, each at the budget where its verified gain is the same.

    The common gain is nine tenths of what both reach on average; arms that never gain the margin cannot be matched.
    """
    rows = []
    for arm in (name for name in arms if name not in (options.real_arm, options.direct_arm)):
        found = align_arms(arms, [*tasks["verified"], *tasks["unverified"]], options.real_arm, arm)
        if found is None or not all(tasks.values()):
            continue
        split = len(tasks["verified"])
        moves = [grid.values - grid.before[:, None] for grid in found]
        verified = [move[:, :, :split].mean(axis=2) for move in moves]
        target = 0.9 * min(float(curve.mean(axis=0).max()) for curve in verified)
        row: dict[str, Any] = {"arm": arm, "verified_gain": target, "difference": None}
        if target > options.transfer_margin:
            at = [_at_gain(v, m[:, :, split:].mean(axis=2), target) for v, m in zip(verified, moves)]
            row["difference"] = mean_record(base_means(at[0] - at[1], found[0].units, options.min_bases))
        rows.append(row)
    return rows


def _at_gain(verified: Array, unverified: Array, target: float) -> Array:
    """[n] unverified gains where the mean verified gain [n, K] first reaches target, linear between budgets."""
    mean = np.concatenate([[0.0], verified.mean(axis=0)])
    whole = np.concatenate([np.zeros((len(unverified), 1)), unverified], axis=1)
    k = int(np.argmax(mean >= target))
    share = (target - mean[k - 1]) / (mean[k] - mean[k - 1])
    return (1 - share) * whole[:, k - 1] + share * whole[:, k]


def matrix(table: Table, arms: dict[str, Grid], options: Options) -> dict[str, Any]:
    """Change by family evaluated, for each arm that learns from true rewards: rows are what it was trained on.

    Columns are families by the role that their tasks have for the real arm (their own role where it lacks them).
    Minus the control's change where the control was run on the same tasks (`corrected`).
    """
    skip = {*options.controls, options.primary_control}
    roles = (
        table.frame.select("arm", "task", pl.coalesce("family", "task").alias("family"), "role").unique().sort("task")
    )
    real = dict(roles.filter(pl.col("arm") == options.real_arm).select("task", "role").rows())
    rows = []
    for arm in (name for name in arms if name not in skip):
        own = roles.filter(pl.col("arm") == arm)
        trained = sorted(own.filter(pl.col("role") != "unverified")["family"].unique())
        columns: dict[tuple[str, str], list[str]] = {}
        for _, task, family, role in own.rows():
            columns.setdefault((family, real.get(task, role)), []).append(task)
        cells = [_cell(arms, arm, *column, tasks, options) for column, tasks in columns.items()]
        if trained:
            rows.append({"arm": arm, "trained": trained, "evaluated": [cell for cell in cells if cell]})
    return {"rows": rows, "several_trained_sets": len({tuple(row["trained"]) for row in rows}) > 1}


def _cell(
    arms: dict[str, Grid], arm: str, family: str, role: str, tasks: list[str], options: Options
) -> dict[str, Any] | None:
    """One cell of the matrix; None where the arm was not evaluated there before and after."""
    found = align_arms(arms, tasks, arm, options.primary_control) or align_arms(arms, tasks, arm)
    if found is None:
        return None
    change = found[0].change - (found[1].change if len(found) > 1 else 0.0)
    values = base_means(change, found[0].units, options.min_bases).mean(axis=1)
    return {"family": family, "role": role, "corrected": len(found) > 1, "gain": mean_record(values)}
