"""The real arm beside every other arm: contrasts, matched verified gain, trained by evaluated family; and how fast its
unverified tasks rise beside the verified ones: slopes compared over cells that have room to move."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from harness.analysis.data.grids import ACCURACY, Array, Grid, align_arms, align_pair, arm_grids, base_means
from harness.analysis.data.options import Options
from harness.analysis.data.table import Table
from harness.analysis.data.table_checks import CELL
from harness.analysis.stats.contrasts import add_holm, fieller_ratio, mean_record
from harness.analysis.stats.slopes import slope_weights

# Chance-corrected accuracy of the cells whose slopes are compared: near 0 and 1 the level bounds the slope.
MID_RANGE = (0.1, 0.9)
ROLES = ("verified", "unverified")


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


def slope_ratio(table: Table, tasks: Mapping[str, Sequence[str]], options: Options) -> dict[str, Any] | None:
    """Slope per decade of the unverified tasks of the real arm over that of the verified, over middling cells; None
    where a role has none. judged_on: the split that chose the cells, None where it is the one measured."""
    if not all(tasks[role] for role in ROLES):
        return None
    whole = arm_grids(table, by=CELL)[options.real_arm]
    both = align_pair(whole, whole)
    if both is None or len(both[0].x) < 2:
        return None
    grid = both[0]
    cells, judged_on = mid_range_cells(table, options.real_arm)
    each = np.einsum("nkt,k->nt", grid.values, slope_weights(np.log10(grid.x)))
    slopes = dict(zip(grid.columns, base_means(each, grid.units, options.min_bases).T))
    by_role = {}
    for role in ROLES:
        kept = [[slopes[c] for c in grid.columns if c[0] == task and c in cells] for task in tasks[role]]
        by_role[role] = [np.mean(parts, axis=0) for parts in kept if parts]
    if not all(by_role.values()):
        return None
    verified, unverified = (np.mean(by_role[role], axis=0) for role in ROLES)
    return {
        "verified": mean_record(verified),
        "unverified": mean_record(unverified),
        "ratio": fieller_ratio(unverified, verified).record(),
        "cells_used": sum(cell in cells for cell in grid.columns),
        "cells": len(grid.columns),
        "judged_on": judged_on,
        "chance_corrected": "guess_rate" in table.frame.columns,
    }


def mid_range_cells(table: Table, arm: str) -> tuple[set[tuple], str | None]:
    """The cells of an arm whose accuracy, beyond guessing, lies within MID_RANGE on average over RL, and the split that
    selects them: another than the one measured, where the table has one, since a cell that noise lifted over the edge
    would be kept for its noise. A cell that the other split lacks is not kept."""
    rows, judged_on = table.frame, None
    if table.others is not None and arm in table.others["arm"]:
        splits = table.others.filter(pl.col("arm") == arm)["split"].unique().sort().to_list()
        judged_on = "validation" if "validation" in splits else str(splits[0])
        rows = table.others.filter(pl.col("split") == judged_on)
    rows = rows.filter((pl.col("arm") == arm) & (pl.col("x") > 0))
    guess = pl.lit(0.0)
    if "guess_rate" in rows.columns:
        guess = pl.col("guess_rate").cast(pl.Float64).fill_null(0.0).clip(0.0, 0.99)
    levels = rows.group_by(CELL).agg(((ACCURACY - guess) / (1 - guess)).mean().alias("level"))
    return set(levels.filter(pl.col("level").is_between(*MID_RANGE)).select(CELL).rows()), judged_on
