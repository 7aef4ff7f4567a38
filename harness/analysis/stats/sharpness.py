"""Over how many decades of training a metric rises: accuracy, all or nothing, beside metrics of partly right answers.

Where an answer of d letters is right only if all of them are, accuracy is about the product of the letters' accuracies,
and rises later and within fewer decades than they do (arXiv 2304.15004).
"""

from typing import Any

import numpy as np
import polars as pl

from harness.analysis.data.grids import ACCURACY
from harness.analysis.data.rise import HIGH, LOW, rise
from harness.analysis.data.table_checks import TableError
from harness.analysis.stats.contrasts import mean_record

BEST = {"accuracy": 1.0, "edit_similarity": 1.0, "logprob_per_letter": 0.0}  # of a policy that is always right
REPLICATE = ("arm", "difficulty", "seed")


def metric_curves(frame: pl.DataFrame) -> pl.DataFrame:
    """Of a run table, the metrics named in BEST by arm, difficulty, seed and x, as means over tasks and settings.

    A problem of difficulty d is taken to ask for d letters. Raises TableError where columns are missing."""
    missing = [name for name in ("answer_edit_distance", "answer_logprob") if name not in frame.columns]
    if missing:
        raise TableError(f"columns {', '.join(missing)} are missing", "run the study again: evaluations write them")
    difficulty = pl.col("difficulty").cast(pl.Int64, strict=False)
    metrics = {
        "accuracy": ACCURACY,
        "edit_similarity": 1 - pl.col("answer_edit_distance").cast(pl.Float64),
        "logprob_per_letter": pl.col("answer_logprob").cast(pl.Float64) / difficulty,
    }
    curves = frame.with_columns(difficulty).drop_nulls("difficulty").with_columns(**metrics)
    if curves.is_empty():
        raise TableError("no row of the table has a difficulty that is a number")
    keys = (*REPLICATE, "x")
    return curves.group_by(keys).agg(pl.col(*metrics).mean()).sort(keys)


def rises(curves: pl.DataFrame) -> list[dict[str, Any]]:
    """A record for each arm, difficulty, seed and metric: start, the largest value, x and decades of the rise, and
    first_gain, what the first budget above 0 added."""
    records = []
    for key, own in curves.group_by(REPLICATE, maintain_order=True):
        x = own["x"].to_list()
        for metric, best in BEST.items():
            values = own[metric].to_list()
            first = next((value for at, value in zip(x, values) if at > 0), values[0])
            reached = {"start": values[0], "highest": max(values), "first_gain": first - values[0]}
            records.append(dict(zip(REPLICATE, key)) | {"metric": metric} | reached | rise(x, values, best))
    return records


def sharpness(curves: pl.DataFrame) -> dict[str, Any]:
    """Of `metric_curves`: `rises`; for each arm `contrast`, decades of edit similarity less those of accuracy at the
    largest difficulty, `later`, decades by which the LOW share comes later with each step of difficulty, and
    `first_gain` of the log-probability per letter at the largest difficulty, each as a mean over seeds with 95%
    t-interval. n_missing: seeds whose rises the budgets do not cover."""
    records = rises(curves)
    shown = pl.DataFrame(records, infer_schema_length=None)
    arms = [_of_arm(arm, shown.filter(arm=arm)) for arm in shown["arm"].unique(maintain_order=True)]
    return {"shares": [LOW, HIGH], "arms": arms, "rises": records}


def _of_arm(arm: str, records: pl.DataFrame) -> dict[str, Any]:
    hardest = records.filter(difficulty=records["difficulty"].max())
    decades = hardest.pivot("metric", index="seed", values="decades").sort("seed")
    gain = hardest.filter(metric="logprob_per_letter")["first_gain"].to_numpy()
    return {
        "arm": arm,
        "difficulty": records["difficulty"].max(),
        "contrast": _record(decades["edit_similarity"] - decades["accuracy"]),
        "decades": {metric: _record(decades[metric]) for metric in BEST},
        "later": {metric: _record(_later(records.filter(metric=metric))) for metric in BEST},
        "first_gain": mean_record(gain),
    }


def _later(records: pl.DataFrame) -> pl.Series:
    """Of each seed, the slope of log10 of x_low by difficulty; null where fewer than two are known."""
    slopes = []
    for _, own in records.sort("seed").group_by("seed", maintain_order=True):
        seen = own.drop_nulls("x_low")
        x, y = seen["difficulty"].to_numpy(), np.log10(seen["x_low"].to_numpy())
        slopes.append(float(np.polyfit(x, y, 1)[0]) if len(x) > 1 else None)
    return pl.Series(slopes, dtype=pl.Float64)


def _record(values: pl.Series) -> dict[str, Any]:
    """mean_record of what is known; n 0 and no numbers where nothing is."""
    known = values.drop_nulls().to_numpy()
    nothing = {"mean": None, "low": None, "high": None, "p": 1.0, "n": 0}
    return (mean_record(known) if len(known) else nothing) | {"n_missing": values.null_count()}
