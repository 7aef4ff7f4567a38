"""What the runs of a table took, from its column `seconds`."""

import polars as pl


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
