"""What the analyses of three studies write besides the report: numbers, the registered answer, and a figure.

Their measures (breadth, emergence, pretraining; configs/study/) are no sums of means. All raise TableError.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import polars as pl

from harness.analysis.data.json_files import write_json
from harness.analysis.data.options import Options
from harness.analysis.data.table import Table
from harness.analysis.data.table_checks import TableError
from harness.analysis.report.analyze import write_primary
from harness.analysis.report.chart_style import Chart, arm_channels, horizontal_line, inline, log_x, tooltip
from harness.analysis.report.figures import Figure, single, write_figures
from harness.analysis.report.gain_charts import lines_chart
from harness.analysis.stats.formatting import Record
from harness.analysis.stats.pretraining_law import log_law, pretraining_law
from harness.analysis.stats.pretraining_prediction import predict_largest, pretraining_losses, with_part
from harness.analysis.stats.sharpness import metric_curves, sharpness
from harness.analysis.transfer.breadth import MODES, breadth, markdown
from harness.analysis.verdict.primary import PrimaryRecord, interval_answer

# Entries of the answers, as configs/study/ registers them.
BREADTH: dict[str, Any] = {
    "study": "breadth",
    "question": "the slope per doubling of the number of families of the mean change on the held-out tasks, at the "
    "same compute, by scripts/analyze.py action=breadth",
    "metric": "change in accuracy per doubling",
    "margin": 0.005,  # .02 from one family to sixteen
    "more": "More seeds and orders.",
}
EMERGENCE: dict[str, Any] = {
    "study": "emergence",
    "question": "decades of training from a tenth to nine tenths of the rise, those of edit similarity less those of "
    "accuracy, at the largest difficulty, by scripts/analyze.py action=sharpness",
    "metric": "decades",
    "margin": 0.2,
    "more": "More seeds and budgets closer together.",
}
PRETRAINING: dict[str, Any] = {
    "study": "pretraining",
    "question": "the error of the loss that the law fitted to smaller, shorter runs predicts of the largest, longest",
    "metric": "error relative to the loss",
    "margin": 0.05,
    "yes_if": "below",
    "more": "More seeds and lengths.",
}
METRICS = {"accuracy": "Accuracy: all letters right", "edit_similarity": "Edit similarity: letters right in part"}
PARTS = {"fitted": "circle", "hidden": "square", "predicted": "diamond"}


def write_answer(out: Path, name: str, found: Any, primary: PrimaryRecord, figure: Figure) -> None:
    """Writes `out/NAME.json`, `out/primary.json` and `out/figures/NAME.png, .pdf`."""
    write_json(out / f"{name}.json", found)
    write_primary(out, primary)
    write_figures(out / "figures", {name: figure})


def write_breadth(table: Table, out: Path, options: Options) -> str:
    """The answer of study=breadth; returns its tables as Markdown."""
    found = breadth(table, options.real_arm, options.primary_control)
    write_answer(out, "breadth", found, breadth_primary(found), breadth_figure(found))
    return markdown(found)


def breadth_primary(found: Record) -> PrimaryRecord:
    slope = found["modes"]["compute"]["slope"]
    return interval_answer(
        slope, **BREADTH, notes=(f"The interval takes seeds and {slope['columns']} orders both as drawn.",)
    )


def breadth_figure(found: Record) -> Figure:
    """Change on held-out families by number of families rewarded; beside it on those that an order leaves out."""
    panels = {"Held out of all arms": families_chart(found["modes"])}
    if found["left_out"]:
        panels["Rewarded in no arm of an order"] = families_chart(found["left_out"])
    caption = "Mean over tasks with 95% intervals that take seeds and orders both as drawn."
    return Figure(breadth_title(found), caption, panels, columns=2)


def breadth_title(found: Record) -> str:
    """What a doubling of the families brought at matched compute."""
    slope = found["modes"]["compute"]["slope"]
    if slope["low"] is None or slope["low"] <= 0 <= slope["high"]:
        return "Rewarding more families does not clearly change families that are never rewarded"
    word = "raises" if slope["mean"] > 0 else "lowers"
    return f"Each doubling of the families rewarded {word} families never rewarded by {abs(slope['mean']):.3f}"


def families_chart(modes: Mapping[str, Record]) -> Chart:
    """Change against the number of families on a log axis, a line for each mode; intervals beside one another."""
    shifts = dict(zip(MODES, (1 / 1.04, 1.04)))  # so that no interval hides another
    rows = [
        row | {"label": label, "families": row["families"] * shifts[mode]}
        for mode, label in MODES.items()
        for row in modes[mode]["by_families"]
    ]
    counts = sorted({row["families"] for row in modes["compute"]["by_families"]})
    scale = alt.Scale(type="log", base=2, nice=False, padding=12)
    x = alt.X("families:Q", title="families rewarded", scale=scale, axis=alt.Axis(values=counts, format="d"))
    y = alt.Y("mean:Q", title="change in accuracy")
    return alt.layer(horizontal_line(), lines_chart(rows, x, y, tooltip("label", mean="+.3f"), intervals=True))


def write_sharpness(table: Table, out: Path) -> PrimaryRecord:
    """The answer of study=emergence, which is returned: over how many decades accuracy and a softer metric rise.

    Answer and figure are of the table's first arm."""
    curves = metric_curves(table.frame)
    found = sharpness(curves)
    first = next(one for one in found["arms"] if one["arm"] == table.arms[0])
    answer = sharpness_primary(first)
    write_answer(out, "sharpness", found, answer, sharpness_figure(curves.filter(arm=first["arm"]), first))
    return answer


def sharpness_primary(found: Record) -> PrimaryRecord:
    missing = found["contrast"]["n_missing"]
    notes = (f"{missing} seeds are left out: the budgets do not cover their rises.",) * bool(missing)
    return interval_answer(found["contrast"], **EMERGENCE, notes=notes)


def sharpness_figure(curves: pl.DataFrame, found: Record) -> Figure:
    """Accuracy against x, a line for each difficulty; beside it edit similarity."""
    sharp, soft = (found["decades"][name]["mean"] for name in METRICS)
    title = "The budgets do not cover the rises"
    if sharp is not None and soft is not None:
        title = f"Accuracy rises over {sharp:.2f} decades, edit similarity over {soft:.2f}"
    title += f" (difficulty {found['difficulty']})"
    caption = "Means over seeds, by difficulty; a rise is counted from a tenth to nine tenths of it."
    return Figure(title, caption, {words: metric_chart(curves, name) for name, words in METRICS.items()}, columns=2)


def metric_chart(curves: pl.DataFrame, metric: str) -> Chart:
    """A metric between 0 and 1 against x on a log axis, a line for each difficulty, means over seeds: budget by budget,
    whose x differs a little between seeds."""
    trained = curves.filter(pl.col("x") > 0).with_columns(budget=pl.col("x").rank("dense").over("difficulty", "seed"))
    means = trained.group_by("difficulty", "budget").agg(pl.col("x", metric).mean()).sort("difficulty", "budget")
    shown = means.with_columns(label=pl.format("difficulty {}", "difficulty"))
    y = alt.Y(f"{metric}:Q", title=metric.replace("_", " "), scale=alt.Scale(domain=[0, 1]))
    return lines_chart(shown.to_dicts(), log_x("x", "budget"), y, tooltip("label", **{metric: ".3f", "x": ".3~g"}))


def write_pretraining_law(table: pl.DataFrame, out: Path, seed: int = 0) -> Path:
    """The law and, where runs are left to hide, the answer of study=pretraining; returns the path of the law."""
    losses = pretraining_losses(table)
    law = pretraining_law(losses, seed)
    try:
        law["prediction"] = predict_largest(losses, seed)
    except TableError as error:  # too few sizes or budgets are left
        law["prediction"] = {"error": None, "reason": str(error)}
    path, found = out / "pretraining_law.json", law["prediction"]
    if found["error"] is None:
        write_json(path, law)
    else:
        write_answer(out, path.stem, law, law_primary(found), law_figure(losses, found))
    return path


def law_primary(found: Record) -> PrimaryRecord:
    effect = {**found, "mean": found["error"], "n": found["n_hidden"]}
    notes = (f"Without the law the error is {found['error_without_law']:.3f}.",)
    return interval_answer(effect, **PRETRAINING, notes=notes)


def law_figure(losses: pl.DataFrame, found: Record) -> Figure:
    """Loss against tokens, a colour for each size; the law as fitted to the smaller, shorter runs."""
    error = found["error"]
    return single(
        f"The law fitted to smaller, shorter runs is off by {error:.1%} of the loss of the largest, longest ones",
        "Loss on held-out documents against tokens read, of each run; lines are the law. Circles were fitted, squares "
        "were hidden from the fit, diamonds are what is predicted.",
        law_chart(losses, np.array(found["theta"])),
    )


def law_chart(losses: pl.DataFrame, theta: np.ndarray) -> Chart:
    """Points, their symbol by whether the law saw them, and its curve at each size."""
    label = pl.format("{} weights", pl.col("params"))
    shown = with_part(losses).sort("params").select(label.alias("label"), "tokens", "loss", "part")
    tokens = losses["tokens"].to_numpy()
    grid = np.geomspace(tokens.min(), tokens.max(), 60)
    sizes = losses["params"].unique().sort()
    curve = {n: np.exp(log_law(theta[None], np.log(n), np.log(grid))[0][0]) for n in sizes}
    lines = [{"label": f"{n} weights", "tokens": x, "loss": y} for n, loss in curve.items() for x, y in zip(grid, loss)]
    colour = arm_channels([f"{n} weights" for n in sizes])["color"]
    x = log_x("tokens", "tokens read")
    y = alt.Y("loss:Q", title="loss on held-out documents (nats)", scale=alt.Scale(type="log", nice=False))
    scale = alt.Scale(domain=list(PARTS), range=list(PARTS.values()))
    shape = alt.Shape("part:N", scale=scale, legend=alt.Legend(title=None, orient="bottom"))
    told = tooltip("label", "part", loss=".3f", tokens=".3~g")
    return alt.layer(
        alt.Chart(inline(lines)).mark_line(strokeWidth=1.2).encode(x, y, colour),
        alt.Chart(inline(shown)).mark_point(size=34).encode(x, y, colour, shape, tooltip=told),
    ).properties(height=320)
