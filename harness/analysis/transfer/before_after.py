"""Accuracy before and after RL, one row an arm, as a Markdown table of any run table."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from harness.analysis.data.grids import align_arms, arm_grids
from harness.analysis.data.table import Table
from harness.analysis.stats.contrasts import mean_record
from harness.analysis.stats.formatting import format_number, markdown_table


def before_after_rows(
    table: Table, role: str, patterns: Sequence[str] = (), control: str | None = None
) -> list[dict[str, Any]]:
    """Per arm and model size, over its tasks of a role or of these names: accuracy before and after, the change with
    its 95% t-interval over runs, how far the mean curve ever fell below its start, and as `gain` the change
    minus the control's, paired by replicate, None where they share no replicate or not all of the tasks."""
    rows = []
    for size in sorted({size for arm in table.arms for size in table.sizes(arm)}, key=lambda size: size or 0):
        built = arm_grids(table.of_size(size))
        for arm, grid in built.items():
            named = [task for task in grid.columns if any(fnmatchcase(task, pattern) for pattern in patterns)]
            tasks = named if patterns else table.tasks(arm, role)
            if not tasks or not set(tasks) <= set(grid.columns):
                continue
            chosen = grid.select(tasks)
            curve = np.nanmean(chosen.values, axis=(0, 2)) - chosen.before.mean()
            before, after = float(chosen.before.mean()), float(chosen.values[:, -1].mean())
            row = {"arm": arm, "size": size, "x": float(grid.x[-1]), "before": before, "after": after}
            both = align_arms(built, tasks, arm, control) if control and control != arm else None
            gain = mean_record((both[0].change - both[1].change).mean(axis=1)) if both else None
            change, fall = mean_record(chosen.change.mean(axis=1)), float(max(0.0, -curve.min()))
            rows.append(row | {"change": change, "fall": fall, "gain": gain})
    return rows


def markdown(rows: list[dict[str, Any]]) -> str:
    """The rows as a table for a page of the documentation."""
    sizes, gains = len({row["size"] for row in rows}) > 1, any(row["gain"] for row in rows)
    names = ["arm", *["weights"] * sizes, "runs", "before", "after", "change", "95%", "deepest fall below the start"]
    names += ["minus the control", "95%"] * gains
    cells = [
        [
            row["arm"],
            *[format_number(row["size"])] * sizes,
            row["change"]["n"],
            f"{row['before']:.3f}",
            f"{row['after']:.3f}",
            *_words(row["change"]),
            f"{row['fall']:.3f}",
            *(_words(row["gain"]) if row["gain"] else ["", ""]) * gains,
        ]
        for row in rows
    ]
    return markdown_table(names, cells)


def _words(change: dict[str, Any]) -> list[str]:
    between = "one run" if change["low"] is None else f"{change['low']:+.3f} to {change['high']:+.3f}"
    return [f"{change['mean']:+.3f}", between]
