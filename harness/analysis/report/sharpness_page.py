"""What `action=sharpness` writes: over how many decades accuracy and softer metrics rise, and their figure."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl

from harness.analysis.data.table import Table
from harness.analysis.report.answer_files import write_answer
from harness.analysis.report.chart_style import Chart, arm_channels, inline, log_x, only
from harness.analysis.report.figures import Figure
from harness.analysis.stats.sharpness import metric_curves, sharpness
from harness.analysis.verdict.primary import PrimaryRecord, interval_answer

MARGIN = 0.2  # decades
MEASURE = (
    "decades of training from a tenth to nine tenths of the rise, those of edit similarity less those of accuracy, at "
    "the largest difficulty, by scripts/analyze.py action=sharpness"
)
PANELS = {"accuracy": "Accuracy: all letters right", "edit_similarity": "Edit similarity: letters right in part"}


def write_sharpness(table: Table, out: Path) -> PrimaryRecord:
    """Writes `out/sharpness.json`, `out/primary.json` and `out/figures/sharpness.png, .pdf`; returns the answer.

    Answer and figure are of the table's first arm. Raises TableError."""
    curves = metric_curves(table.frame)
    found = sharpness(curves)
    first = next(one for one in found["arms"] if one["arm"] == table.arms[0])
    answer = sharpness_primary(first)
    write_answer(out, "sharpness", found, answer, sharpness_figure(curves.filter(arm=first["arm"]), first))
    return answer


def sharpness_primary(found: Mapping[str, Any]) -> PrimaryRecord:
    """The measure that configs/study/emergence.yaml registers, of an arm."""
    contrast = found["contrast"]
    missing = contrast["n_missing"]
    return interval_answer(
        contrast,
        MARGIN,
        more="More seeds and budgets closer together.",
        study="emergence",
        question=MEASURE,
        metric="decades",
        notes=(f"{missing} seeds are left out: the budgets do not cover their rises.",) * bool(missing),
    )


def sharpness_figure(curves: pl.DataFrame, found: Mapping[str, Any]) -> Figure:
    """Accuracy against x, a line for each difficulty; beside it edit similarity."""
    sharp, soft = (found["decades"][name]["mean"] for name in PANELS)
    title = "The budgets do not cover the rises"
    if sharp is not None and soft is not None:
        title = f"Accuracy rises over {sharp:.2f} decades, edit similarity over {soft:.2f}"
    title += f" (difficulty {found['difficulty']})"
    caption = "Means over seeds, by difficulty; a rise is counted from a tenth to nine tenths of it."
    return Figure(title, caption, {words: metric_chart(curves, name) for name, words in PANELS.items()}, columns=2)


def metric_chart(curves: pl.DataFrame, metric: str) -> Chart:
    """A metric between 0 and 1 against x on a log axis, a line for each difficulty, means over seeds: budget by budget,
    whose x differs a little between seeds."""
    trained = curves.filter(pl.col("x") > 0).with_columns(budget=pl.col("x").rank("dense").over("difficulty", "seed"))
    means = trained.group_by("difficulty", "budget").agg(pl.col("x", metric).mean()).sort("difficulty", "budget")
    labels = [f"difficulty {d}" for d in means["difficulty"].unique().sort()]
    shown = means.with_columns(pl.format("difficulty {}", "difficulty").alias("label"))
    y = alt.Y(f"{metric}:Q", title=metric.replace("_", " "), scale=alt.Scale(domain=[0, 1]))
    tooltip = ["label:N", alt.Tooltip(f"{metric}:Q", format=".3f"), alt.Tooltip("x:Q", format=".3~g")]
    base = alt.Chart(inline(shown)).encode(log_x("x", "budget"), y, tooltip=tooltip)
    channels = arm_channels(labels)
    return alt.layer(
        base.mark_line(strokeWidth=1.2).encode(**only(channels, "color")),
        base.mark_point(size=24).encode(**only(channels, "color", "shape")),
    ).properties(height=260)
