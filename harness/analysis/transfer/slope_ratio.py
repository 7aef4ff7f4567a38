"""How fast unverified tasks rise beside verified ones: slopes compared over cells that have room to move."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from harness.analysis.data.grids import ACCURACY, align_pair, arm_grids, base_means
from harness.analysis.data.options import Options
from harness.analysis.data.table import Table
from harness.analysis.data.table_checks import CELL
from harness.analysis.stats.contrasts import fieller_ratio, mean_record
from harness.analysis.stats.slopes import slope_weights

# Chance-corrected accuracy of the cells whose slopes are compared: near 0 and 1 the level bounds the slope.
MID_RANGE = (0.1, 0.9)
ROLES = ("verified", "unverified")


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
