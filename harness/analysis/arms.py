"""Before and after, an arm a line: a table in Markdown of any run table. One command:

python -m harness.analysis.arms table=FOLDER [role=verified]
"""

import sys
from typing import Any

import numpy as np

from harness.analysis.contrasts import record
from harness.analysis.gains import grids
from harness.analysis.markup import number
from harness.analysis.table import Table, load_table


def arm_rows(table: Table, role: str) -> list[dict[str, Any]]:
    """Per arm and model size, over its tasks of a role: accuracy before and after, the change with its 95% t-interval
    over runs, and how far the mean curve ever fell below its start."""
    rows = []
    for size in sorted({size for arm in table.arms for size in table.sizes(arm)}, key=lambda size: size or 0):
        for arm, grid in grids(table, size).items():
            tasks = table.tasks(arm, role)
            if not tasks or not set(tasks) <= set(grid.columns):
                continue
            chosen = grid.select(tasks)
            curve = np.nanmean(chosen.values, axis=(0, 2)) - chosen.before.mean()
            rows.append({
                "arm": arm, "size": size, "x": float(grid.x[-1]), "before": float(chosen.before.mean()),
                "after": float(chosen.values[:, -1].mean()), "change": record(chosen.change.mean(axis=1)),
                "fall": float(max(0.0, -curve.min())),
            })  # fmt: skip
    return rows


def markdown(rows: list[dict[str, Any]]) -> str:
    """The rows as a table for a page of the documentation."""
    sizes = len({row["size"] for row in rows}) > 1
    lines = [f"| arm |{' weights |' * sizes} runs | before | after | change | 95% | deepest fall below the start |"]
    lines.append("|---|" + "---|" * (6 + sizes))
    for row in rows:
        change = row["change"]
        between = "one run" if change["low"] is None else f"{change['low']:+.3f} to {change['high']:+.3f}"
        cells = [row["arm"], *([number(row["size"])] if sizes else []), str(change["n"]), f"{row['before']:.3f}",
                 f"{row['after']:.3f}", f"{change['mean']:+.3f}", between, f"{row['fall']:.3f}"]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    if "table" not in given or set(given) - {"table", "role"}:
        sys.exit("give table=FOLDER, and role=unverified for the tasks that are never rewarded")
    print(markdown(arm_rows(load_table(given["table"]), given.get("role", "verified"))))
