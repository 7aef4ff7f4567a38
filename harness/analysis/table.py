"""The run table: load, check, and pool to learning curves.

One tidy row per (run, budget, task, difficulty or setting). Checks are strict, and say which column, which row and
what to do; no row is left out without a note that counts it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

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
    "n_correct_sq": pl.Int64,
}
ROLES = ("verified", "unverified", "placebo")
CELL = ("task", "difficulty", "setting")  # what one pooled accuracy is the mean of
UNIT = ("arm", "model_params", "base_id", "seed")  # one replicate of one arm


class TableError(UserError):
    """The table cannot be analysed: the message names the column, the row and the fix."""


@dataclass(frozen=True)
class Table:
    """A checked run table.

    frame: one row per (run, budget, task, difficulty, setting); required columns typed, optional ones filled.
    problems: counts per problem (run_id, x, task, setting, problem, k, n_correct), or None.
    source: where it came from. notes: everything done to it or assumed about it, in plain words.
    others: rows of the other evaluation splits, or None; nothing is measured on them, but cells are chosen by them.
    """

    frame: pl.DataFrame
    problems: pl.DataFrame | None
    source: str
    notes: tuple[str, ...]
    others: pl.DataFrame | None = None

    @property
    def arms(self) -> list[str]:
        """Names of the arms, `true_reward` first, then in order of appearance."""
        names = self.frame["arm"].unique(maintain_order=True).to_list()
        return sorted(names, key=lambda name: name != "true_reward")

    def sizes(self, arm: str) -> list[int | None]:
        """Parameter counts of the policies of an arm, ascending; [None] where the table does not say."""
        return self.frame.filter(pl.col("arm") == arm)["model_params"].unique().sort().to_list()

    def tasks(self, arm: str, role: str | None = None) -> list[str]:
        """Tasks evaluated for an arm (in a role, if given), sorted."""
        rows = self.frame.filter(pl.col("arm") == arm)
        rows = rows if role is None else rows.filter(pl.col("role") == role)
        return sorted(rows["task"].unique().to_list())

    def roles(self, arm: str) -> list[str]:
        """Roles that the tasks of an arm have, in the order verified, unverified, placebo."""
        present = set(self.frame.filter(pl.col("arm") == arm)["role"].unique().to_list())
        return [role for role in ROLES if role in present]


def load_table(source: str | Path | Sequence[str | Path], split: str | None = "test") -> Table:
    """Load and check a run table from CSV or Parquet files, study folders, or several of them put together.

    split: where the table holds several evaluation splits, the one to analyse. Raises TableError.
    """
    sources = [Path(source)] if isinstance(source, str | Path) else [Path(one) for one in source]
    if not sources:
        raise TableError("no table given: name a CSV or Parquet file or a study folder, e.g. table=runs.csv")
    frame = pl.concat([read_frame(path) for path in sources], how="diagonal_relaxed")
    problems = [part for path in sources for part in _problems_of(path)]
    return check_table(
        frame,
        problems=pl.concat(problems, how="diagonal_relaxed") if problems else None,
        source=", ".join(str(path) for path in sources),
        split=split,
    )


def check_table(
    frame: pl.DataFrame, problems: pl.DataFrame | None = None, source: str = "memory", split: str | None = "test"
) -> Table:
    """A Table from a frame in memory, after every check of `load_table`. Raises TableError."""
    _require_columns(frame.columns, source)
    if frame.is_empty():
        raise TableError(f"{source}: the table has no rows; run the study first")
    frame, notes = _typed(frame, source)
    _check_values(frame, source)
    frame, mode_notes = _pair_independent_budgets(frame)
    _check_keys(frame, source)
    frame, others, split_notes = _choose_split(frame, split)
    count = f"{frame.height} rows, {frame['run_id'].n_unique()} runs, {frame['arm'].n_unique()} arms"
    return Table(frame, problems, source, (count, *notes, *split_notes, *mode_notes), others)


def read_frame(path: Path) -> pl.DataFrame:
    """The rows of a CSV, TSV or Parquet file, or of every table.parquet in a folder, unchecked. Raises TableError."""
    if not path.exists():
        raise TableError(f"{path} does not exist: give a CSV or Parquet file, or a folder that holds table.parquet")
    if path.is_dir():
        return pl.concat([pl.read_parquet(table) for table in _tables(path)], how="diagonal_relaxed")
    if path.suffix not in (".csv", ".tsv", ".parquet"):
        raise TableError(f"{path}: unknown kind of file {path.suffix!r}; use .csv, .tsv or .parquet")
    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path)
        return pl.read_csv(path, separator="," if path.suffix == ".csv" else "\t", infer_schema=False)
    except (pl.exceptions.ComputeError, pl.exceptions.NoDataError) as error:
        raise TableError(f"{path} cannot be read as a table: {error}") from error


def _tables(folder: Path) -> list[Path]:
    own = folder / "table.parquet"
    tables = [own] if own.exists() else sorted(folder.rglob("table.parquet"))
    if not tables:
        raise TableError(f"{folder} holds no table.parquet: is it a study folder, and has the study begun?")
    return tables


def _problems_of(path: Path) -> list[pl.DataFrame]:
    """Every problems.parquet that lies beside a table.parquet of this source."""
    tables = _tables(path) if path.is_dir() else [path] * (path.name == "table.parquet")
    beside = [table.with_name("problems.parquet") for table in tables]
    return [pl.read_parquet(file) for file in beside if file.exists()]


def _require_columns(columns: Sequence[str], source: str) -> None:
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


def _typed(frame: pl.DataFrame, source: str) -> tuple[pl.DataFrame, list[str]]:
    """Columns cast to their types, absent optional columns filled; says what was assumed."""
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


def _check_values(frame: pl.DataFrame, source: str) -> None:
    """Ranges and gaps of the required columns, the first offending row named."""
    most = pl.col("n_problems") * pl.col("k")
    gaps = [(pl.col(name).is_null(), name, "is empty", "every row needs a value") for name in REQUIRED]
    rules = [
        *gaps,
        (~pl.col("x").is_finite(), "x", "is not finite", "x is the amount of RL; a run without one has no place here"),
        (pl.col("x") < 0, "x", "is negative", "x counts RL from the policy before RL, which is 0"),
        (pl.col("n_problems") < 1, "n_problems", "is below 1", "leave out evaluations without problems"),
        (pl.col("k") < 1, "k", "is below 1", "k is the number of completions of each problem"),
        (pl.col("n_correct") < 0, "n_correct", "is negative", "it counts correct completions"),
        (pl.col("n_correct") > most, "n_correct", "exceeds n_problems * k", "count completions, not problems"),
        (~pl.col("role").is_in(ROLES), "role", "is no role", f"use one of {', '.join(ROLES)}"),
        (
            (pl.col("n_correct_sq") < pl.col("n_correct"))
            | (pl.col("n_correct_sq") > pl.col("n_correct") * pl.col("k")),
            "n_correct_sq",
            "does not fit n_correct and k",
            "it is the sum over problems of squared correct counts",
        ),
    ]
    for condition, name, fault, fix in rules:
        bad = frame.select(condition.fill_null(False)).to_series()
        if bad.any():
            row = int(bad.arg_max() or 0)
            held = "" if "empty" in fault else f" ({frame[name][row]!r})"
            more = f" and {bad.sum() - 1} more" if bad.sum() > 1 else ""
            raise TableError(f"{source}: column {name!r}, row {row + 1}{more}: the value{held} {fault}; {fix}")


def _choose_split(frame: pl.DataFrame, split: str | None) -> tuple[pl.DataFrame, pl.DataFrame | None, list[str]]:
    """One evaluation split, and the rows of the others: tuning looks at validation, so mixing it in would flatter."""
    present = frame["split"].unique().sort().to_list()
    if len(present) == 1 or split is None:
        return frame, None, []
    if split not in present:
        raise TableError(f"column 'split' holds {', '.join(present)} but not {split!r}; choose one with split=NAME")
    kept, others = frame.filter(pl.col("split") == split), frame.filter(pl.col("split") != split)
    note = f"{kept.height} of {frame.height} rows used: those of split {split!r} (others: {', '.join(present)})"
    return kept, others, [note]


def _pair_independent_budgets(frame: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
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


def _check_keys(frame: pl.DataFrame, source: str) -> None:
    """A cell is evaluated once, a run has one arm and seed, a task one role in an arm."""
    budget = "x" if frame["step"].null_count() else "step"
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


def rows_of(
    table: Table, arm: str, *, tasks: Iterable[str] | None = None, role: str | None = None, size: int | None = None
) -> pl.DataFrame:
    """Rows of one arm, some tasks or a role, and one model size. Raises TableError where that leaves none."""
    if arm not in table.arms:
        close = get_close_matches(arm, table.arms, 1)
        raise TableError(
            f"no arm {arm!r} in {table.source}; " + (f"is it {close[0]!r}?" if close else f"it has {table.arms}")
        )
    rows = table.frame.filter(pl.col("arm") == arm)
    if size is None and rows["model_params"].n_unique() > 1:
        raise TableError(f"arm {arm!r} has several model sizes {table.sizes(arm)}; choose one with size=")
    if size is not None:
        rows = rows.filter(pl.col("model_params") == size)
    if role is not None:
        rows = rows.filter(pl.col("role") == role)
    if tasks is not None:
        rows = rows.filter(pl.col("task").is_in(list(tasks)))
    if rows.is_empty():
        raise TableError(f"no rows of arm {arm!r} with tasks={tasks}, role={role}, size={size} in {table.source}")
    return rows
