"""What `law=pretraining` writes: the law, what it predicts of the largest runs, and their figure."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import polars as pl

from harness.analysis.data.table_checks import TableError
from harness.analysis.report.answer_files import write_answer
from harness.analysis.report.chart_style import Chart, arm_channels, inline, log_x, only
from harness.analysis.report.figures import Figure, single
from harness.analysis.stats.pretraining_law import log_law, pretraining_law
from harness.analysis.stats.pretraining_prediction import predict_largest, pretraining_losses, with_part
from harness.analysis.verdict.primary import PrimaryRecord, interval_answer

MARGIN = 0.05  # of the loss
PARTS = {"fitted": "circle", "hidden": "square", "predicted": "diamond"}


def write_pretraining_law(table: pl.DataFrame, out: Path, seed: int = 0) -> Path:
    """Writes `out/pretraining_law.json`; where runs are left to hide also `out/primary.json` and
    `out/figures/pretraining_law.png, .pdf`. Raises TableError where the law cannot be fitted to the whole table."""
    losses = pretraining_losses(table)
    law = pretraining_law(losses, seed)
    try:
        law["prediction"] = predict_largest(losses, seed)
    except TableError as error:  # too few sizes or budgets are left
        law["prediction"] = {"error": None, "reason": str(error)}
    if (found := law["prediction"])["error"] is None:
        return write_answer(out, "pretraining_law", law)
    return write_answer(out, "pretraining_law", law, law_primary(found), law_figure(losses, found))


def law_primary(found: Mapping[str, Any]) -> PrimaryRecord:
    """The measure that configs/study/pretraining.yaml registers, which is no sum of means."""
    return interval_answer(
        {**found, "mean": found["error"], "n": found["n_hidden"]},
        MARGIN,
        "below",
        "More seeds and lengths.",
        study="pretraining",
        question="the error of the loss that the law fitted to smaller, shorter runs predicts of the largest, longest",
        metric="error relative to the loss",
        notes=(f"Without the law the error is {found['error_without_law']:.3f}.",),
    )


def law_figure(losses: pl.DataFrame, found: Mapping[str, Any]) -> Figure:
    """Loss against tokens, a colour for each size; the law as fitted to the smaller, shorter runs."""
    error = found["error"]
    title = f"The law fitted to smaller, shorter runs is off by {error:.1%} of the loss of the largest, longest ones"
    caption = (
        "Loss on held-out documents against tokens read, of each run; lines are the law. Circles were "
        "fitted, squares were hidden from the fit, diamonds are what is predicted."
    )
    return single(title, caption, law_chart(losses, np.array(found["theta"])))


def law_chart(losses: pl.DataFrame, theta: np.ndarray) -> Chart:
    """Points, their symbol by whether the law saw them, and its curve at each size."""
    label = pl.format("{} weights", pl.col("params"))
    shown = with_part(losses).sort("params").select(label.alias("label"), "tokens", "loss", "part")
    tokens = losses["tokens"].to_numpy()
    grid = np.geomspace(tokens.min(), tokens.max(), 60)
    sizes = losses["params"].unique().sort()
    curve = {n: np.exp(log_law(theta[None], np.log(n), np.log(grid))[0][0]) for n in sizes}
    lines = [{"label": f"{n} weights", "tokens": x, "loss": y} for n, loss in curve.items() for x, y in zip(grid, loss)]
    colour = only(arm_channels([f"{n} weights" for n in sizes]), "color")
    y = alt.Y("loss:Q", title="loss on held-out documents (nats)", scale=alt.Scale(type="log", nice=False))
    scale = alt.Scale(domain=list(PARTS), range=list(PARTS.values()))
    shape = alt.Shape("part:N", scale=scale, legend=alt.Legend(title=None, orient="bottom"))
    told = ["label:N", "part:N", alt.Tooltip("loss:Q", format=".3f"), alt.Tooltip("tokens:Q", format=".3~g")]
    x = log_x("tokens", "tokens read")
    return alt.layer(
        alt.Chart(inline(lines)).mark_line(strokeWidth=1.2).encode(x, y, **colour),
        alt.Chart(inline(shown)).mark_point(size=34).encode(x, y, shape=shape, tooltip=told, **colour),
    ).properties(height=320)
