"""Does training on more families raise families that are never rewarded?

Arms are called order_O_families_K: the first K families of a random order O. The real arm is trained on all families,
so that every order ends in it. Each is compared at the same compute, after all steps, and at the same dose of each
family, after K / all of them: with a constant learning rate the shorter run is the prefix of the longer.

Held-out are the real arm's unverified tasks. Where the arms of an order are evaluated on tasks that none of them
rewards, though the real arm does, these are reported too (`left_out`), without the real arm.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from harness.analysis.data.grids import Array, Grid, align_arms, arm_grids
from harness.analysis.data.table import Table
from harness.analysis.data.table_checks import TableError
from harness.analysis.stats.contrasts import mean_record, two_way_record
from harness.analysis.stats.formatting import format_record, markdown_table
from harness.analysis.stats.slopes import slope_weights

ARM = re.compile(r"order_(\d+)_families_(\d+)")
MODES = {"compute": "matched compute", "dose": "matched dose per family"}


def breadth(table: Table, real_arm: str, control: str) -> dict[str, Any]:
    """Per mode: the change on held-out tasks for each number of families, and its slope per doubling, for all tasks
    and for each. Intervals take seeds and orders both as drawn. Raises TableError without such arms."""
    arms, held_out = arm_grids(table), table.tasks(real_arm, "unverified")
    cells = {tuple(map(int, found.groups())): arm for arm in arms if (found := ARM.fullmatch(arm))}
    if not cells or real_arm not in arms or not held_out:
        raise TableError("no arms called order_O_families_K beside that of all families, evaluated on held-out tasks")
    verified = table.frame.filter((pl.col("arm") == real_arm) & (pl.col("role") == "verified"))
    whole = verified.select(pl.coalesce("family", "task")).n_unique()
    found: dict[str, Any] = {"families": whole, "held_out": held_out, "modes": {}}
    left_out = _left_out(table, cells, held_out)
    with_real = cells | {(order, whole): real_arm for order in left_out}
    for mode in MODES:
        values = _changes(arms, with_real, whole, dict.fromkeys(left_out, held_out), mode)
        by_task = {task: _slope({k: v[..., [j]] for k, v in values.items()}) for j, task in enumerate(held_out)}
        found["modes"][mode] = _summary(values) | {"slope_by_task": by_task}
    modes = MODES if all(left_out.values()) else ()
    summaries = {mode: _summary(_changes(arms, cells, whole, left_out, mode)) for mode in modes}
    found["left_out"] = summaries or None
    both = align_arms(arms, held_out, real_arm, control)
    found["over_control"] = mean_record((both[0].change - both[1].change).mean(1)) if both else None
    return found


def _left_out(table: Table, cells: Mapping[tuple, str], held_out: list[str]) -> dict[int, list[str]]:
    """Of each order the tasks besides `held_out` that all of its arms are evaluated on and none rewards."""
    of_arm = {cell: set(table.tasks(arm, "unverified")) - set(held_out) for cell, arm in cells.items()}
    orders = sorted({order for order, _ in cells})
    return {o: sorted(set.intersection(*(of_arm[cell] for cell in cells if cell[0] == o))) for o in orders}


def _changes(
    arms: Mapping[str, Grid], cells: Mapping[tuple, str], whole: int, tasks: Mapping[int, list[str]], mode: str
) -> dict[int, Array]:
    """Change since before RL on each order's tasks, {families: [seeds, orders, tasks]}, or, where orders differ in the
    number of tasks, the mean of these; over the seeds that all arms have."""
    units = sorted(set.intersection(*(set(arms[arm].units) for arm in cells.values())))
    orders, sizes = (sorted(set(labels)) for labels in zip(*cells))
    if lacking := [(o, k) for o in orders for k in sizes if (o, k) not in cells]:
        raise TableError(f"orders and numbers of families are not crossed: no arm for order, families = {lacking[0]}")
    alike = len({len(tasks[order]) for order in orders}) == 1

    def change(arm: str, families: int, order: int) -> Array:
        grid = arms[arm].select(tasks[order])
        step = grid.budgets[-1] * (families / whole if mode == "dose" else 1)
        if step not in grid.budgets:
            raise TableError(f"arm {arm} was not evaluated at step {step:g}, where the dose of a family is the same")
        found = grid.at(units, np.array([step])).change
        return found if alike else found.mean(1, keepdims=True)

    return {k: np.stack([change(cells[o, k], k, o) for o in orders], axis=1) for k in sizes}


def _summary(values: Mapping[int, Array]) -> dict[str, Any]:
    return {
        "by_families": [{"families": k, **two_way_record(v.mean(2))} for k, v in sorted(values.items())],
        "slope": _slope(values),
    }


def _slope(values: Mapping[int, Array]) -> dict[str, Any]:
    """Least-squares slope per doubling of the number of families, of the mean over tasks."""
    means = np.stack([values[k].mean(2) for k in sorted(values)])
    return two_way_record(np.einsum("kno,k->no", means, slope_weights(np.log2(sorted(values)))))


def _format(row: Mapping[str, Any]) -> str:
    return format_record(row, absent="")


def markdown(found: Mapping[str, Any]) -> str:
    """The tables of a page."""
    slopes = [found["modes"][mode]["slope_by_task"] for mode in MODES]
    tasks = [[task, *(_format(by_task[task]) for by_task in slopes)] for task in found["held_out"]]
    tables = [
        _table("families rewarded", found["modes"]),
        markdown_table(["slope per doubling", *MODES.values()], tasks),
    ]
    if found["left_out"]:
        tables.append(_table("on the families that no arm of an order rewards", found["left_out"]))
    return "\n\n".join(tables)


def _table(name: str, modes: Mapping[str, Any]) -> str:
    rows = zip(*(modes[mode]["by_families"] for mode in MODES))
    lines = [[row[0]["families"], *map(_format, row)] for row in rows]
    slopes = ["per doubling", *(_format(modes[mode]["slope"]) for mode in MODES)]
    return markdown_table([name, *MODES.values()], [*lines, slopes])
