"""What changed from before RL to after, per replicate and task, paired between arms."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from harness.analysis.data.curves import Array, complete_block
from harness.analysis.data.table import Table
from harness.analysis.data.table_checks import budget_column
from harness.core.accuracy import accuracy

Unit = tuple[str, int]  # (base_id, seed): one replicate
ACCURACY: pl.Expr = accuracy({name: pl.col(name) for name in ("n_correct", "n_problems", "k")})


@dataclass(frozen=True)
class Grid:
    """One measure of one arm at every replicate, budget and column, NaN where it was not evaluated.

    units: n replicates. columns: T tasks, or cells (task, difficulty, setting). budgets: [K] what aligns runs (the
    step where there is one, else x), > 0. x: [K]. values: [n, K, T]. before: [n, T] at budget 0; a replicate without
    one takes the mean of its base, whose policy is the same.
    """

    arm: str
    units: tuple[Unit, ...]
    columns: tuple
    budgets: Array
    x: Array
    values: Array
    before: Array

    def select(self, columns: Sequence) -> "Grid":
        """The same grid for some of its columns, in the order given."""
        places = [self.columns.index(column) for column in columns]
        return replace(self, columns=tuple(columns), values=self.values[:, :, places], before=self.before[:, places])

    def at(self, units: Sequence[Unit], budgets: Array) -> "Grid":
        """The same grid for some replicates and budgets."""
        rows = [self.units.index(unit) for unit in units]
        kept = np.searchsorted(self.budgets, budgets)
        values, before = self.values[rows][:, kept], self.before[rows]
        return replace(self, units=tuple(units), budgets=budgets, x=self.x[kept], values=values, before=before)

    @property
    def change(self) -> Array:
        """[n, T] value at the largest budget minus value before RL."""
        return self.values[:, -1] - self.before


def arm_grids(table: Table, value: pl.Expr = ACCURACY, by: Sequence[str] = ("task",)) -> dict[str, Grid]:
    """Each arm's grid of a measure; a column is the plain mean of its cells. Arms evaluated at budget 0 only, as a base
    policy may be, are left out."""
    budget = pl.col(budget_column(table.frame)).cast(pl.Float64)
    cells = table.frame.with_columns(budget.alias("budget"), value.cast(pl.Float64).alias("value"))
    means = cells.group_by("arm", "base_id", "seed", "budget", *by, maintain_order=True).agg(
        pl.col("x").mean(),
        pl.when(pl.col("value").is_null().any()).then(None).otherwise(pl.col("value").mean()).alias("value"),
    )
    parts = means.partition_by("arm", as_dict=True, maintain_order=True)
    built = {arm: _grid(arm, part, by) for (arm,), part in parts.items() if (part["budget"] > 0).any()}
    return {arm: built[arm] for arm in table.arms if arm in built}


def _grid(arm: str, part: pl.DataFrame, by: Sequence[str]) -> Grid:
    labels = part.select("base_id", "seed").rows()
    names = part[by[0]].to_list() if len(by) == 1 else part.select(by).rows()
    units, columns = sorted(set(labels)), sorted(set(names))
    budgets, place = np.unique(part["budget"].to_numpy(), return_inverse=True)
    cube = np.full((len(units), len(budgets), len(columns)), np.nan)
    at_unit, at_column = {u: i for i, u in enumerate(units)}, {c: i for i, c in enumerate(columns)}
    values = part["value"].fill_null(np.nan).to_numpy()
    cube[[at_unit[u] for u in labels], place, [at_column[c] for c in names]] = values
    x = np.array([part["x"].to_numpy()[place == k].mean() for k in range(len(budgets))])
    above = budgets > 0
    before = cube[:, ~above].mean(axis=1) if (~above).any() else np.full((len(units), len(columns)), np.nan)
    trained = np.any(np.isfinite(cube[:, above]), axis=(1, 2))
    before = _fill_from_base(before, [base for base, _ in units])[trained]
    kept = tuple(unit for unit, is_trained in zip(units, trained) if is_trained)
    return Grid(arm, kept, tuple(columns), budgets[above], x[above], cube[trained][:, above], before)


def _fill_from_base(before: Array, bases: Sequence[str]) -> Array:
    """Gaps in [n, T] values before RL filled with the mean of the replicates of the same base, where it has any."""
    filled = before.copy()
    for base in set(bases):
        rows = np.array([name == base for name in bases])
        known = before[rows][np.isfinite(before[rows]).all(axis=1)]
        if len(known):
            filled[rows] = np.where(np.isfinite(before[rows]), before[rows], known.mean(axis=0))
    return filled


def align_pair(first: Grid, second: Grid) -> tuple[Grid, Grid] | None:
    """Both arms at the replicates, budgets and columns that they share, complete; None where they share none.

    Where runs are unfinished, the largest complete block of replicates and budgets is kept. An arm without budget 0
    takes the other's: before RL the replicates of one base and seed are one policy, evaluated with the same key.
    """
    columns = [column for column in first.columns if column in second.columns]
    units = [unit for unit in first.units if unit in second.units]
    budgets = np.intersect1d(first.budgets, second.budgets)
    if not (columns and units and len(budgets)):
        return None
    one, two = (grid.select(columns).at(units, budgets) for grid in (first, second))
    before_one = np.where(np.isfinite(one.before), one.before, two.before)
    before_two = np.where(np.isfinite(two.before), two.before, one.before)
    started = np.all(np.isfinite(before_one), axis=1)
    present = np.all(np.isfinite(one.values) & np.isfinite(two.values), axis=2) & started[:, None]
    if not present.any():
        return None
    rows, kept = complete_block(present)
    chosen = [units[row] for row in rows]
    one, two = replace(one, before=before_one), replace(two, before=before_two)
    return one.at(chosen, budgets[kept]), two.at(chosen, budgets[kept])


def align_arms(arms: dict[str, Grid], tasks: Sequence[str], *names: str) -> list[Grid] | None:
    """Several arms on one set of tasks, replicates and budgets; None where an arm or a task is absent."""
    if not tasks or not all(name in arms and set(tasks) <= set(arms[name].columns) for name in names):
        return None
    chosen = [arms[name].select(tasks) for name in names]
    first = chosen[0]
    for other in chosen:
        shared = align_pair(first, other)
        if shared is None:
            return None
        first = shared[0]
    shared = [align_pair(first, other) for other in chosen]
    return [both[1] for both in shared if both is not None]


def base_means(values: Array, units: Sequence[Unit], min_bases: int) -> Array:
    """Base means [bases, ...] of values [n, ...] where there are enough bases, since runs of one base are not
    independent; the values themselves otherwise."""
    bases = [base for base, _ in units]
    names = sorted(set(bases))
    if len(names) < min_bases:
        return values
    return np.stack([values[[base == name for base in bases]].mean(axis=0) for name in names])
