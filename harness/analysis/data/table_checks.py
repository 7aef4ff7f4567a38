"""Checks of a run table's columns, values and keys: strict; an error names the column, the row and the fix."""

from collections.abc import Sequence
from difflib import get_close_matches

import polars as pl

from harness.core.errors import UserError

REQUIRED = {
    "run_id": pl.String,
    "arm": pl.String,
    "seed": pl.Int64,
    "task": pl.String,
    "role": pl.String,
    "x": pl.Float64,
    "n_problems": pl.Int64,
    "k": pl.Int64,
    "n_correct": pl.Int64,
}
# Optional columns that the analysis reads, with the type it needs; absent ones are filled so that code needs no cases.
OPTIONAL = {
    "base_id": pl.String,
    "model_params": pl.Int64,
    "difficulty": pl.String,
    "setting": pl.String,
    "family": pl.String,
    "context": pl.String,
    "split": pl.String,
    "budgets_mode": pl.String,
    "step": pl.Int64,
    "ended_step": pl.Int64,
    "n_correct_sq": pl.Int64,
}
ROLES = ("verified", "unverified", "placebo")
CELL = ("task", "difficulty", "setting")  # what one pooled accuracy is the mean of
UNIT = ("arm", "model_params", "base_id", "seed")  # one replicate of one arm
SQUARES = "it is the sum over problems of squared correct counts"


class TableError(UserError):
    """The table cannot be analysed: the message names the column, the row and the fix."""


def require_columns(columns: Sequence[str], source: str) -> None:
    missing = [name for name in REQUIRED if name not in columns]
    if not missing:
        return
    hints = [
        f"{name} (is it {close[0]!r}?)" if (close := get_close_matches(name, columns, 1, 0.7)) else name
        for name in missing
    ]
    raise TableError(
        f"{source}: missing column{'s' * (len(missing) > 1)} {', '.join(hints)}. "
        f"A run table needs {', '.join(REQUIRED)}; rename or add what is missing."
    )


def budget_column(frame: pl.DataFrame) -> str:
    """What aligns the budgets of runs: the step where every row has one, else x."""
    return "x" if frame["step"].null_count() else "step"


def typed_problems(problems: pl.DataFrame) -> pl.DataFrame:
    """A problems table whose cells and x have the types of a checked run table, so that the two can be joined."""
    cells = (pl.col(name) if name in problems.columns else pl.lit("").alias(name) for name in CELL)
    return problems.with_columns(cell.cast(pl.String).fill_null("") for cell in cells).with_columns(
        pl.col("x").cast(pl.Float64)
    )


def with_types(frame: pl.DataFrame, source: str) -> tuple[pl.DataFrame, list[str]]:
    """Columns cast to their types, absent optional columns filled, and notes on what was assumed."""
    notes = []
    for name, kind in (REQUIRED | OPTIONAL).items():
        if name not in frame.columns:
            frame = frame.with_columns(pl.lit(None, dtype=kind).alias(name))
        elif frame.schema[name] != kind:
            frame = frame.with_columns(_cast(frame[name], kind, source))
    if frame["n_correct_sq"].null_count():
        notes.append(
            "no n_correct_sq in some rows: evaluation noise taken as binomial, an upper bound given the problems"
        )
    fill = {"base_id": "base", "difficulty": "", "setting": "", "split": "", "budgets_mode": ""}
    return frame.with_columns(pl.col(name).fill_null(value) for name, value in fill.items()), notes


def _cast(column: pl.Series, kind: type[pl.DataType], source: str) -> pl.Series:
    """The column as `kind`; the first value that does not fit is an error."""
    if kind == pl.Int64 and (column.dtype == pl.String or column.dtype.is_float()):
        # "8.0" and 8.0 are whole numbers too: many CSV writers turn integers with gaps into floats.
        real = column.cast(pl.Float64, strict=False)
        cast = real.cast(pl.Int64, strict=False)
        bad = (real != cast.cast(pl.Float64)).fill_null(True) & column.is_not_null()
    else:
        cast = column.cast(kind, strict=False)
        bad = cast.is_null() & column.is_not_null()
    bad = bad & (column.cast(pl.String) != "") if column.dtype == pl.String else bad
    if (row := bad.arg_max()) is not None and bad.any():
        wanted = {"Int64": "a whole number", "Float64": "a number", "String": "text"}[kind.__name__]
        raise TableError(
            f"{source}: column {column.name!r}, row {row + 1} holds {column[row]!r}, not {wanted}; "
            "write the real value, or leave the row out of the file"
        )
    return cast


def check_values(frame: pl.DataFrame, source: str) -> None:
    """Ranges and gaps of the required columns, the first offending row named."""
    k, correct, squares = (pl.col(name) for name in ("k", "n_correct", "n_correct_sq"))
    gaps = [(pl.col(name).is_null(), name, "is empty", "every row needs a value") for name in REQUIRED]
    rules = [
        *gaps,
        (~pl.col("x").is_finite(), "x", "is not finite", "x is the amount of RL; a run without one has no place here"),
        (pl.col("x") < 0, "x", "is negative", "x counts RL from the policy before RL, which is 0"),
        (pl.col("n_problems") < 1, "n_problems", "is below 1", "leave out evaluations without problems"),
        (k < 1, "k", "is below 1", "k is the number of completions of each problem"),
        (correct < 0, "n_correct", "is negative", "it counts correct completions"),
        (correct > pl.col("n_problems") * k, "n_correct", "exceeds n_problems * k", "count completions, not problems"),
        (~pl.col("role").is_in(ROLES), "role", "is no role", f"use one of {', '.join(ROLES)}"),
        (~squares.is_between(correct, correct * k), "n_correct_sq", "does not fit n_correct and k", SQUARES),
    ]
    for condition, name, fault, fix in rules:
        bad = frame.select(condition.fill_null(False)).to_series()
        if bad.any():
            row = int(bad.arg_max() or 0)
            held = "" if "empty" in fault else f" ({frame[name][row]!r})"
            more = f" and {bad.sum() - 1} more" if bad.sum() > 1 else ""
            raise TableError(f"{source}: column {name!r}, row {row + 1}{more}: the value{held} {fault}; {fix}")


def choose_split(frame: pl.DataFrame, split: str | None) -> tuple[pl.DataFrame, pl.DataFrame | None, list[str]]:
    """One evaluation split, and the rows of the others: settings are chosen on validation."""
    present = frame["split"].unique().sort().to_list()
    if len(present) == 1 or split is None:
        return frame, None, []
    if split not in present:
        raise TableError(f"column 'split' holds {', '.join(present)} but not {split!r}; choose one with split=NAME")
    kept, others = frame.filter(pl.col("split") == split), frame.filter(pl.col("split") != split)
    note = f"{kept.height} of {frame.height} rows used: those of split {split!r} (others: {', '.join(present)})"
    return kept, others, [note]


def pair_independent_budgets(frame: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Where each budget was trained with its own seed, the r-th seed of each budget makes replicate r.

    All runs are then independent, so any pairing gives valid per-replicate slopes.
    """
    independent = pl.col("budgets_mode") == "independent"
    if not frame.select(independent.any()).item():
        return frame, []
    rank = pl.col("seed").rank("dense").over("arm", "model_params", "base_id", "x").cast(pl.Int64) - 1
    frame = frame.with_columns(
        pl.when(independent & (pl.col("x") > 0)).then(rank).otherwise(pl.col("seed")).alias("seed")
    )
    return frame, ["budgets=independent: the r-th seed of each budget was taken as replicate r"]


def cut_at_first_end(frame: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Each arm's rows up to the first step at which rl.stop_at ended one of its runs (`ended_step`, null for runs that
    went as far as they were asked to), and a note on each arm that was cut.

    The end is censoring, and informative, since the runs that learn fastest end first: beyond it the arm's mean would
    be that of its slower runs, or a run's last value carried forward.
    """
    ended = frame.filter(pl.col("ended_step").is_not_null())
    if ended.is_empty():
        return frame, []
    if frame["step"].null_count():
        raise TableError("column 'ended_step' needs a step in every row; fill the column 'step'")
    first = pl.col("ended_step").min().over("arm", "model_params")
    kept, notes = frame.filter(first.is_null() | (pl.col("step") <= first)), []
    for arm, size in sorted(set(ended.select("arm", "model_params").rows()), key=str):
        own = (pl.col("arm") == arm) & pl.col("model_params").eq_missing(size)
        rows, ends = frame.filter(own), ended.filter(own)
        count = f"{ends['run_id'].n_unique()} of {rows['run_id'].n_unique()} runs"
        beyond = f"{rows.height - kept.filter(own).height} rows of other runs beyond it left out"
        notes.append(f"arm {arm!r}: rl.stop_at ended {count}, the first at step {ends['ended_step'].min()}; {beyond}")
    return kept, notes


def check_keys(frame: pl.DataFrame, source: str) -> None:
    """A cell is evaluated once, a run has one arm and seed, a task one role in an arm."""
    budget = budget_column(frame)
    key = [*UNIT, *CELL, "split", budget]
    double = frame.select(pl.struct(key).is_duplicated()).to_series()
    if double.any():
        row = int(double.arg_max() or 0)
        what = ", ".join(f"{name}={frame[name][row]}" for name in key if frame[name][row] not in ("", None))
        raise TableError(
            f"{source}: row {row + 1} is there more than once ({double.sum()} such rows; {what}); "
            "keep one row per run, budget, task, difficulty and setting, and give each run of an arm its own seed"
        )
    for owner, name, fix in (
        (["run_id"], "arm", "give each run its own run_id"),
        (["arm", "task"], "role", "a task has one role in an arm"),
    ):
        counts = frame.group_by(owner).agg(pl.col(name).n_unique().alias("n")).filter(pl.col("n") > 1)
        if counts.height:
            first = ", ".join(f"{column} {counts[column][0]!r}" for column in owner)
            raise TableError(f"{source}: column {name!r} has several values for {first}; {fix}")
