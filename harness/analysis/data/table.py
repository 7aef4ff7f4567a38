"""The run table: one tidy row per (run, budget, task, difficulty or setting), loaded and checked.

No row is left out without a note that counts it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

import polars as pl

from harness.analysis.data.table_checks import (
    ROLES,
    TableError,
    check_keys,
    check_values,
    choose_split,
    cut_at_first_end,
    pair_independent_budgets,
    require_columns,
    with_types,
)


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
        """Parameter counts of the policies of an arm, ascending; [None] where the table has none."""
        return self.frame.filter(pl.col("arm") == arm)["model_params"].unique().sort().to_list()

    def of_size(self, size: int | None) -> "Table":
        """The rows of policies with so many parameters; all where it is None."""
        own = pl.lit(True) if size is None else pl.col("model_params") == size
        others = None if self.others is None else self.others.filter(own)
        return replace(self, frame=self.frame.filter(own), others=others)

    def largest(self) -> "Table":
        """The rows of each arm's largest policies."""
        largest = pl.col("model_params").eq_missing(pl.col("model_params").max().over("arm"))
        return replace(self, frame=self.frame.filter(largest))

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
    require_columns(frame.columns, source)
    if frame.is_empty():
        raise TableError(f"{source}: the table has no rows; run the study first")
    frame, notes = with_types(frame, source)
    check_values(frame, source)
    frame, mode_notes = pair_independent_budgets(frame)
    check_keys(frame, source)
    frame, end_notes = cut_at_first_end(frame)
    frame, others, split_notes = choose_split(frame, split)
    count = f"{frame.height} rows, {frame['run_id'].n_unique()} runs, {frame['arm'].n_unique()} arms"
    return Table(frame, problems, source, (count, *notes, *split_notes, *mode_notes, *end_notes), others)


def read_frame(path: Path) -> pl.DataFrame:
    """The rows of a CSV, TSV or Parquet file, or of every table.parquet in a folder, unchecked. Raises TableError."""
    if not path.exists():
        raise TableError(f"{path} does not exist: give a CSV or Parquet file, or a folder that holds table.parquet")
    if path.is_dir():
        return pl.concat([_read_parquet(table) for table in _tables(path)], how="diagonal_relaxed")
    if path.suffix not in (".csv", ".tsv", ".parquet"):
        raise TableError(f"{path}: unknown kind of file {path.suffix!r}; use .csv, .tsv or .parquet")
    if path.suffix == ".parquet":
        return _read_parquet(path)
    try:
        return pl.read_csv(path, separator="," if path.suffix == ".csv" else "\t", infer_schema=False)
    except (pl.exceptions.ComputeError, pl.exceptions.NoDataError) as error:
        raise TableError(f"{path} cannot be read as a table: {error}") from error


def _read_parquet(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        fix = "a study writes its tables again when it is launched again"
        raise TableError(f"{path} is damaged: {error}; {fix}") from error


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
    return [_read_parquet(file) for file in beside if file.exists()]


def rows_of(
    table: Table, arm: str, *, tasks: Iterable[str] | None = None, role: str | None = None, size: int | None = None
) -> pl.DataFrame:
    """Rows of one arm, some tasks or a role, and one model size. Raises TableError where that leaves none."""
    if arm not in table.arms:
        close = get_close_matches(arm, table.arms, 1)
        fix = f"is it {close[0]!r}?" if close else f"it has {table.arms}"
        raise TableError(f"no arm {arm!r} in {table.source}; {fix}")
    rows = table.frame.filter(pl.col("arm") == arm)
    if size is None and rows["model_params"].n_unique() > 1:
        raise TableError(f"arm {arm!r} has several model sizes {table.sizes(arm)}; choose one with size=")
    wanted = {"model_params": size, "role": role}
    rows = rows.filter(**{name: value for name, value in wanted.items() if value is not None})
    if tasks is not None:
        rows = rows.filter(pl.col("task").is_in(list(tasks)))
    if rows.is_empty():
        raise TableError(f"no rows of arm {arm!r} with tasks={tasks}, role={role}, size={size} in {table.source}")
    return rows


def hours_of_runs(frame: pl.DataFrame) -> float | None:
    """Hours of RL of all runs together, pretraining and evaluation not counted; None without a column `seconds`. Frozen
    runs, which stand at the budgets of other runs and spend nothing, count nothing."""
    if "seconds" not in frame.columns:
        return None
    seconds = pl.col("seconds").cast(pl.Float64, strict=False).max()
    runs = frame.group_by("run_id", "base_id", "seed").agg(seconds).drop_nulls("seconds")
    return sum(runs.unique(["base_id", "seed", "seconds"])["seconds"].to_list()) / 3600 if runs.height else None


def hours_of_replicate(frame: pl.DataFrame) -> float | None:
    """Hours of RL of one replicate of all arms of the table, in the mean over replicates."""
    hours = hours_of_runs(frame)
    most = max(part.select("base_id", "seed").n_unique() for part in frame.partition_by("arm"))
    return None if hours is None else hours / most
