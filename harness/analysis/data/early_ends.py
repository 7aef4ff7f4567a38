"""Runs that rl.stop_at ended: the end is censoring, and informative, since the runs that learn fastest end first."""

import polars as pl

from harness.analysis.data.table_checks import TableError

ARM = ("arm", "model_params")


def cut_at_first_end(frame: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """Each arm's rows up to the first step at which one of its runs was ended, and a note on each arm that was cut.

    Beyond it the arm's mean would be that of its slower runs, or a run's last value carried forward. `ended_step` is
    null for runs that went as far as they were asked to.
    """
    ended = frame.filter(pl.col("ended_step").is_not_null())
    if ended.is_empty():
        return frame, []
    if frame["step"].null_count():
        raise TableError("column 'ended_step' needs a step in every row; fill the column 'step'")
    first = pl.col("ended_step").min().over(*ARM)
    kept = frame.filter(first.is_null() | (pl.col("step") <= first))
    return kept, [_note(frame, kept, *group) for group in sorted(set(ended.select(ARM).rows()), key=str)]


def _note(frame: pl.DataFrame, kept: pl.DataFrame, arm: str, size: int | None) -> str:
    def own(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.filter((pl.col("arm") == arm) & pl.col("model_params").eq_missing(size))

    rows = own(frame)
    ended = rows.filter(pl.col("ended_step").is_not_null())
    count = f"{ended['run_id'].n_unique()} of {rows['run_id'].n_unique()} runs"
    beyond = f"{rows.height - own(kept).height} rows of other runs beyond it left out"
    return f"arm {arm!r}: rl.stop_at ended {count}, the first at step {ended['ended_step'].min()}; {beyond}"
