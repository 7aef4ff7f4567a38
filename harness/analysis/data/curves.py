"""Learning curves pooled from a run table: one accuracy per replicate and budget, with its evaluation noise."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from harness.analysis.data.arrays import Array
from harness.analysis.data.table import Table, rows_of
from harness.analysis.data.table_checks import CELL, TableError


@dataclass(frozen=True)
class Curves:
    """Accuracy of n replicates of one arm at K budgets, a complete block.

    x: [K] ascending, > 0. accuracy: [n, K]. noise: [n, K] variance of the accuracy given the problems (what repeated
    evaluation would show). problem_noise: [n, K] variance from having drawn these problems, shared by all replicates.
    r0, r0_noise: [n] accuracy before RL and its noise, NaN where budget 0 was not evaluated.
    seeds, bases: [n] labels; a replicate is a (base, seed). notes: what was left out, and why.
    """

    arm: str
    tasks: tuple[str, ...]
    x: Array
    accuracy: Array
    noise: Array
    problem_noise: Array
    r0: Array
    r0_noise: Array
    seeds: tuple[int, ...]
    bases: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def decades(self) -> float:
        """Width of the window in factors of ten."""
        return float(np.log10(self.x[-1] / self.x[0])) if len(self.x) > 1 else 0.0

    def between(self, low: float, high: float = np.inf) -> "Curves":
        """The same curves at budgets low <= x <= high."""
        keep = (self.x >= low * (1 - 1e-9)) & (self.x <= high * (1 + 1e-9))
        cut = {name: getattr(self, name)[:, keep] for name in ("accuracy", "noise", "problem_noise")}
        return replace(self, x=self.x[keep], **cut)

    def same_block(self, other: "Curves") -> bool:
        """Whether both are of the same replicates at the same budgets."""
        same_x = self.x.shape == other.x.shape and np.allclose(self.x, other.x, rtol=1e-6)
        return same_x and (self.seeds, self.bases) == (other.seeds, other.bases)


def curves(
    table: Table, arm: str, tasks: Iterable[str] | None = None, role: str | None = None, size: int | None = None
) -> Curves:
    """Curves of one arm, pooled over cells with fixed weights: a task's (difficulty, setting) cells count equally, and
    tasks count equally, whatever their numbers of problems.

    A replicate has a value at a budget only if all its cells were evaluated there; where replicates lack budgets, the
    largest complete block of replicates and budgets is used and a note counts the rest. Raises TableError.
    """
    rows = rows_of(table, arm, tasks=tasks, role=role, size=size)
    points, notes = _pool(_budget_key(rows))
    above, before = points.filter(pl.col("x") > 0), points.filter(pl.col("x") == 0)
    units = points.select("base_id", "seed").unique().sort("base_id", "seed")
    if above.is_empty():
        raise TableError(f"arm {arm!r} was evaluated at budget 0 only; a curve needs budgets above 0")
    x, grids = _grid(above, units)
    seeds_kept, budgets_kept = complete_block(np.isfinite(grids["accuracy"]))
    missing = int(np.sum(~np.isfinite(grids["accuracy"])))
    if missing:
        notes.append(
            f"unfinished: {missing} of {grids['accuracy'].size} replicate-budget values are missing; "
            f"used {len(seeds_kept)} of {units.height} replicates at {len(budgets_kept)} of {len(x)} budgets "
            "(a run that stopped because it failed is not missing at random)"
        )
    block = {name: grid[np.ix_(seeds_kept, budgets_kept)] for name, grid in grids.items()}
    r0, r0_noise = _before(before, units)
    labels = units[seeds_kept]
    return Curves(
        arm,
        tuple(sorted(rows["task"].unique().to_list())),
        x[budgets_kept],
        **block,
        r0=r0[seeds_kept],
        r0_noise=r0_noise[seeds_kept],
        seeds=tuple(labels["seed"]),
        bases=tuple(labels["base_id"]),
        notes=tuple(notes),
    )


def has_budgets(table: Table, arm: str, tasks: Iterable[str] | None = None, size: int | None = None) -> bool:
    """Whether an arm has these tasks at budgets above 0: a study that is still running may not."""
    rows = table.frame.filter((pl.col("arm") == arm) & (pl.col("x") > 0))
    rows = rows if size is None else rows.filter(pl.col("model_params") == size)
    wanted = set(table.tasks(arm)) if tasks is None else set(tasks)
    return bool(wanted) and wanted <= set(rows["task"].unique().to_list())


def cell_curves(
    table: Table, arm: str, tasks: Iterable[str] | None = None, size: int | None = None
) -> dict[tuple, Curves]:
    """Curves of each single (task, difficulty, setting) cell of an arm."""
    rows = rows_of(table, arm, tasks=tasks, size=size)
    parts = rows.partition_by(*CELL, as_dict=True, maintain_order=True)
    return {cell: curves(replace(table, frame=part), arm, size=size) for cell, part in sorted(parts.items())}


def complete_block(present: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of a large all-True block of a [n, K] mask (greedy: fullest rows first)."""
    order = np.argsort(-present.sum(1), kind="stable")
    best = max(range(1, len(order) + 1), key=lambda m: m * int(present[order[:m]].all(0).sum()))
    rows = np.sort(order[:best])
    return rows, np.flatnonzero(present[rows].all(0))


def _budget_key(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with a column `budget` that aligns replicates: the step where there is one (tokens, FLOPs and seconds at
    one step differ between seeds), else x."""
    key = "x" if rows["step"].null_count() else "step"
    aligned = rows.with_columns(pl.col(key).cast(pl.Float64).alias("budget"))
    return aligned.with_columns(pl.col("x").mean().over("budget").alias("mean_x"))


def _pool(rows: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """One row per (base, seed, budget): pooled accuracy and variances."""
    notes = []
    spread = rows.select((pl.col("x") / pl.col("mean_x") - 1).abs().fill_nan(0).max()).item()
    if spread and spread > 0.01:
        notes.append(f"x at one step differs by up to {spread:.0%} between replicates; the mean is used")
    total = (pl.col("n_problems") * pl.col("k")).cast(pl.Float64)
    p = pl.col("n_correct") / total
    within, between = _cell_variances(total, p)
    scored = rows.with_columns(p.alias("p"), within.alias("within"), between.alias("between"))
    share = 1.0 / pl.len().over("base_id", "seed", "budget", "task")
    n_cells = rows.select(pl.struct(*CELL).n_unique()).item()
    n_tasks = rows["task"].n_unique()
    pooled = (
        scored.with_columns((share / n_tasks).alias("w"))
        .group_by("base_id", "seed", "budget")
        .agg(
            pl.col("mean_x").first().alias("x"),
            (pl.col("w") * pl.col("p")).sum().alias("accuracy"),
            (pl.col("w") ** 2 * pl.col("within")).sum().alias("noise"),
            (pl.col("w") ** 2 * pl.col("between")).sum().alias("problem_noise"),
            pl.len().alias("n"),
        )
    )
    whole = pooled.filter(pl.col("n") == n_cells)
    if whole.height < pooled.height:
        notes.append(
            f"{pooled.height - whole.height} of {pooled.height} budgets of replicates lack some of the {n_cells} cells"
        )
    return whole, notes


def _cell_variances(total: pl.Expr, p: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """Variance of a cell's accuracy given its problems, and from drawing the problems.

    With c_i of k correct for problem i, sum c_i (k - c_i) / (k (k - 1)) estimates sum p_i (1 - p_i) without bias. With
    k = 1 or no n_correct_sq the two cannot be separated: the binomial variance bounds the first from above.
    """
    k, n = pl.col("k").cast(pl.Float64), pl.col("n_problems").cast(pl.Float64)
    squares = pl.col("n_correct_sq").cast(pl.Float64)
    known = squares.is_not_null() & (k > 1)
    binomial = p * (1 - p) / total
    within = (k * pl.col("n_correct") - squares) / (k - 1) / (k * n) ** 2
    drawn = ((squares / (k * k * n) - p * p) / (n - 1)).clip(0.0)  # variance of c_i / k over problems, over n
    between = pl.when(n > 1).then((drawn - within).clip(0.0)).otherwise(0.0)
    return pl.when(known).then(within).otherwise(binomial), pl.when(known).then(between).otherwise(0.0)


def _grid(points: pl.DataFrame, units: pl.DataFrame) -> tuple[Array, dict[str, Array]]:
    """Budgets [K] and the pooled values as [n, K] arrays, NaN where not evaluated."""
    budgets = points.group_by("budget").agg(pl.col("x").first()).sort("x")
    row = units.with_row_index("row")
    place = points.join(row, on=["base_id", "seed"]).join(budgets.with_row_index("column").drop("x"), on="budget")
    grids = {}
    for name in ("accuracy", "noise", "problem_noise"):
        grids[name] = np.full((units.height, budgets.height), np.nan)
        grids[name][place["row"].to_numpy(), place["column"].to_numpy()] = place[name].to_numpy()
    return budgets["x"].to_numpy().copy(), grids


def _before(points: pl.DataFrame, units: pl.DataFrame) -> tuple[Array, Array]:
    """Accuracy at budget 0 and its noise, [n] each, NaN where not evaluated."""
    joined = units.join(points, on=["base_id", "seed"], how="left", maintain_order="left")
    return (
        joined["accuracy"].cast(pl.Float64).fill_null(np.nan).to_numpy().copy(),
        joined["noise"].cast(pl.Float64).fill_null(np.nan).to_numpy().copy(),
    )


def base_mean_curves(curves: Curves, min_bases: int) -> Curves:
    """Base means as the replicates where there are enough bases: runs on one base are not independent of it."""
    names = sorted(set(curves.bases))
    if len(names) < min_bases or len(names) == len(curves.bases):
        return curves
    groups = [[i for i, base in enumerate(curves.bases) if base == name] for name in names]
    mean = {name: np.stack([getattr(curves, name)[g].mean(0) for g in groups]) for name in ("accuracy", "r0")}
    noise = {
        name: np.stack([getattr(curves, name)[g].mean(0) / len(g) for g in groups]) for name in ("noise", "r0_noise")
    }
    shared = np.stack([curves.problem_noise[g].mean(0) for g in groups])
    return Curves(
        curves.arm,
        curves.tasks,
        curves.x,
        **mean,
        **noise,
        problem_noise=shared,
        seeds=tuple(range(len(names))),
        bases=tuple(names),
        notes=curves.notes,
    )
