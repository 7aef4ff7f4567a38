"""Is a policy reliable, and its confidence calibrated? All of k completions right beside the mean, and the calibration
of the most frequent answer, by budget.

Confidence is the share of a problem's completions that give its most frequent answer. An error of calibration measured
on few problems exceeds 0 for a calibrated policy too: `ece_floor` is about what it would be.
"""

import numpy as np
import polars as pl

from harness.analysis.data.grids import Array, base_means
from harness.analysis.data.options import Options
from harness.analysis.data.table import Table
from harness.analysis.data.table_checks import CELL
from harness.analysis.stats.contrasts import mean_record
from harness.analysis.transfer.problems import scored_problems

BINS = 10  # of confidence, equally wide
CONFIDENT = 0.75  # share of the completions from which an answer counts as confident
FEWEST_SAMPLES = 3  # completions of a problem, below which a most frequent answer says little
MEASURES = ("mean", "all", "any", "confidence", "majority", "brier", "ece", "ece_floor", "confident_wrong")
UNIT = ("base_id", "seed")


def reliability(table: Table, options: Options) -> list[dict]:
    """One record per arm (its largest policies), role and task, and per arm and role over all tasks (`all`), each
    counting the same; [] where the problems table has no most frequent answers of at least three completions.

    Of each measure mean, low and high at each x (0: before RL), over seeds or bases: `mean` accuracy; `all`, `any`: all
    or any of k completions right; `majority`: the most frequent answer right; `brier`: (confidence - majority)^2;
    `ece`: expected calibration error in ten bins; `confident_wrong`: share of problems whose most frequent answer has a
    confidence of at least .75 and is wrong.
    """
    scored = answered_problems(table)
    if scored.is_empty():
        return []
    by_task = _by_task(scored)
    pools = by_task.group_by("arm", "role", *UNIT, "budget", maintain_order=True)
    pooled = pools.agg(pl.lit("all").alias("task"), pl.col("x", "k", *MEASURES).mean())
    records = []
    for part in (pooled.select(by_task.columns), by_task):
        for (arm, role, task), rows in part.group_by("arm", "role", "task", maintain_order=True):
            records.append({"arm": arm, "role": role, "task": task, **_over_replicates(rows, options.min_bases)})
    return sorted(records, key=lambda record: table.arms.index(record["arm"]))


def answered_problems(table: Table) -> pl.DataFrame:
    """A row per run, budget and problem that has a most frequent answer, with the run's labels and each measure that is
    a mean over problems; of each arm's largest policies. Empty where there are none."""
    problems = scored_problems(table.largest(), "n_majority", "majority_correct")
    if problems.is_empty():
        return problems
    joined = problems.drop_nulls(["n_majority"]).filter(pl.col("k") >= FEWEST_SAMPLES)
    confidence, right = pl.col("n_majority") / pl.col("k"), pl.col("majority_correct").cast(pl.Float64)
    return joined.with_columns(
        (pl.col("n_correct") / pl.col("k")).alias("mean"),
        (pl.col("n_correct") == pl.col("k")).cast(pl.Float64).alias("all"),
        (pl.col("n_correct") > 0).cast(pl.Float64).alias("any"),
        confidence.alias("confidence"),
        right.alias("majority"),
        ((confidence - right) ** 2).alias("brier"),
        ((confidence >= CONFIDENT) & (right == 0)).cast(pl.Float64).alias("confident_wrong"),
    )


def _by_task(scored: pl.DataFrame) -> pl.DataFrame:
    """Each measure of each replicate, budget and task: means over cells of means over problems; calibration over all
    problems of the task."""
    unit = ["arm", "role", "task", *UNIT, "budget"]
    plain = [name for name in MEASURES if not name.startswith("ece")]
    cells = scored.group_by(*unit, *CELL[1:], maintain_order=True).agg(pl.col("x", "k", *plain).mean())
    means = cells.group_by(unit, maintain_order=True).agg(pl.col("x", "k", *plain).mean())
    rows = []
    for names, part in scored.group_by(unit, maintain_order=True):
        confidence, right = (part[name].to_numpy() for name in ("confidence", "majority"))
        rows.append((*names, *calibration_error(confidence, right)))
    schema = {name: means.schema[name] for name in unit} | {"ece": pl.Float64, "ece_floor": pl.Float64}
    return means.join(pl.DataFrame(rows, schema=schema, orient="row"), on=unit, maintain_order="left")


def calibration_error(confidence: Array, right: Array) -> tuple[float, float]:
    """(expected calibration error, what a calibrated policy of these confidences would show), of n answers: the sum
    over bins of |sum of confidence - right| / n (Guo et al. 2017, arXiv 1706.04599)."""
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = np.bincount(place, confidence - right, BINS)
    spread = np.bincount(place, confidence * (1 - confidence), BINS)  # variance of a bin's sum
    n = len(confidence)
    return float(np.abs(gaps).sum() / n), float(np.sqrt(2 * spread / np.pi).sum() / n)


def _over_replicates(rows: pl.DataFrame, min_bases: int) -> dict:
    """Of one arm and task: k, x, the number of replicates at each and each measure's mean and interval."""
    parts = [part for _, part in rows.sort("budget", *UNIT).group_by("budget", maintain_order=True)]
    values = [base_means(part.select(MEASURES).to_numpy(), part.select(UNIT).rows(), min_bases) for part in parts]
    ends = [[mean_record(column) for column in value.T] for value in values]
    x = [float(part["x"].to_numpy().mean()) for part in parts]
    about = {"k": round(rows["k"].to_numpy().max()), "x": x, "replicates": [part.height for part in parts]}
    three = ("mean", "low", "high")
    return about | {name: {end: [at[i][end] for at in ends] for end in three} for i, name in enumerate(MEASURES)}
