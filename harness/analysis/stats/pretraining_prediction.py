"""The largest pretraining runs predicted: the law L(N, D) is fitted to smaller sizes and shorter runs alone.

Hidden from the fit are all runs of the largest size, and the longest budgets of every size; what is predicted is the
loss of the largest size at the longest budgets. Beside the law's error stands that of no law at all: the loss of the
next smaller size at its longest budget that was seen.
"""

from typing import Any

import numpy as np
import polars as pl

from harness.analysis.data.table_checks import TableError
from harness.analysis.stats.pretraining_law import BOOTSTRAPS, LEVEL, bootstrap, fit, log_law, named, points

LONGEST = 1.5  # budgets of more than the largest number of tokens over this count as the longest


def pretraining_losses(table: pl.DataFrame) -> pl.DataFrame:
    """run_id, params, tokens, loss of each run and budget of a run table, without the budget before any training.

    params: the weights without the input embedding, by which FLOPs are counted (6 a token and weight). A table with
    params, tokens and loss already is returned as it is. Raises TableError where a column is missing.
    """
    if "params" in table.columns:
        return table
    needed = ("run_id", "tokens", "flops_convention", "loss")
    if missing := [name for name in needed if name not in table.columns]:
        fix = "a study of objective=pretraining with evaluation.documents above 0 has them"
        raise TableError(f"the pretraining law needs columns {', '.join(missing)} of a run table", fix=fix)
    trained = table.filter(pl.col("loss").is_not_null(), pl.col("tokens") > 0).unique(["run_id", "tokens"])
    params = (pl.col("flops_convention") / (6 * pl.col("tokens"))).round().cast(pl.Int64)
    return trained.select("run_id", params.alias("params"), "tokens", "loss").sort("params", "run_id", "tokens")


def with_part(losses: pl.DataFrame) -> pl.DataFrame:
    """The rows with a column `part`: fitted, predicted (the largest size at the longest budgets), or hidden besides."""
    largest = pl.col("params") == pl.col("params").max()
    longest = pl.col("tokens") > pl.col("tokens").max() / LONGEST
    predicted = pl.when(largest & longest).then(pl.lit("predicted"))
    part = predicted.when(largest | longest).then(pl.lit("hidden")).otherwise(pl.lit("fitted"))
    return losses.with_columns(part=part)


def predict_largest(losses: pl.DataFrame, seed: int = 0, draws: int = BOOTSTRAPS) -> dict[str, Any]:
    """The error of the hidden runs' mean loss, relative to that loss, with an interval that resamples runs on both
    sides; beside it what the seen runs alone would suggest. Raises TableError as `points` does, of the rows seen."""
    seen, hidden = (with_part(losses).filter(part=part) for part in ("fitted", "predicted"))
    data = points(seen)
    theta, _ = fit(data)
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    fitted = np.concatenate([theta[None], bootstrap(data, theta, draws, rng)])
    log_params, log_tokens = (np.log(hidden[name].cast(pl.Float64).to_numpy()) for name in ("params", "tokens"))
    predicted = np.exp(log_law(fitted, log_params, log_tokens)[0])  # [1 + draws, n]
    measured = hidden["loss"].to_numpy()
    chosen = np.vstack([np.arange(len(measured)), rng.integers(len(measured), size=(draws, len(measured)))])
    truth = measured[chosen].mean(axis=1)
    errors = np.abs(np.take_along_axis(predicted, chosen, axis=1).mean(axis=1) / truth - 1)
    low, high = np.quantile(errors[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    next_size = seen.filter(pl.col("params") == pl.col("params").max())
    nearest = next_size.filter(pl.col("tokens") > pl.col("tokens").max() / LONGEST)["loss"].to_numpy().mean()
    limit = float(named(theta)["E"])
    return {
        "error": float(errors[0]),
        "low": float(low),
        "high": float(high),
        "predicted": float(predicted[0].mean()),
        "measured": float(truth[0]),
        "error_without_law": float(abs(nearest / truth[0] - 1)),
        "error_of_reducible_loss": float(abs(predicted[0].mean() - truth[0]) / (truth[0] - limit)),
        "hidden_params": round(float(np.exp(log_params).max())),
        "hidden_tokens": float(np.exp(log_tokens).mean()),
        "n_hidden": hidden.height,
        "n_seen": seen.height,
        "theta": theta.tolist(),
    }
