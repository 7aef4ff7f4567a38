"""The sections drawn from run folders: how training went, what it cost, and completions before and after RL."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl

from harness.analysis.data.json_files import metrics_rows
from harness.analysis.data.table import Table
from harness.analysis.report.budget_charts import value_curves
from harness.analysis.report.chart_style import Chart, arm_channels, inline, readable, tooltip
from harness.analysis.report.curve_series import Axis
from harness.analysis.report.figures import Figure
from harness.analysis.report.html import Html, Section, code, html_table
from harness.core.samples import Sample, before_and_after

DYNAMICS = {
    "train/reward_mean": "Reward",
    "train/entropy": "Entropy, nats a token",
    "train/completion_length_mean": "Completion length, tokens",
    "train/zero_advantage_groups": "Share of groups without signal",
    "train/ref_kl": "KL to the policy before RL",
    "train/grad_norm": "Gradient norm",
}
PHASES = {"rollout": "sampling", "verify": "verifying", "update": "update", "save": "saving"}
COLUMNS = ("arm", "part", "unit")  # of the ledger, beside the amount
Rows = Sequence[Mapping[str, Any]]  # of a run's metrics.jsonl
BINS = 40  # log-spaced, over which a metric is averaged
MOST_SAMPLES = 40  # problems shown


def training_section(
    table: Table, folders: Mapping[str, Path], axes: Sequence[Axis], labels: Sequence[str]
) -> Section | None:
    """Metrics of training by compute and the ledger of each arm, from the metrics.jsonl of the runs; None without any.

    folders: run_id → its folder. labels: of the page's arms, for their colours.
    """
    runs = {run: rows for run, folder in folders.items() if (rows := metrics_rows(folder))}
    figures: dict[str, Figure] = {}
    if axes and (panels := dynamics_panels(table, runs, axes, labels)):
        caption = "Mean over runs, averaged over windows of steps that grow with the step."
        figures["training_dynamics"] = Figure(f"{len(panels)} metrics of training, by arm", caption, panels, columns=3)
    if axes and (ledger := ledger_rows(table, runs, folders)):
        figures["compute_ledger"] = ledger_figure(ledger)
    return Section("training", "Training and its cost", figures) if figures else None


def dynamics_panels(
    table: Table, runs: Mapping[str, Rows], axes: Sequence[Axis], labels: Sequence[str]
) -> dict[str, Chart]:
    """A panel for each metric that some run logged with the first axis of the page."""
    arms = {run: readable(arm) for run, arm in table.frame.select("run_id", "arm").unique().iter_rows()}
    known = [{**row, "label": arms[run]} for run, rows in runs.items() if run in arms for row in rows]
    lines = {heading: metric_lines(known, metric, axes) for metric, heading in DYNAMICS.items()}
    shown = {heading: line for heading, line in lines.items() if axes[0].name in line.columns}
    order = list(dict.fromkeys([*labels, *arms.values()]))
    return {
        heading: value_curves(line, axes, arm_channels(order, legend=not place))
        for place, (heading, line) in enumerate(shown.items())
    }


def metric_lines(rows: Rows, metric: str, axes: Sequence[Axis]) -> pl.DataFrame:
    """A metric averaged over the rows of a label in log-spaced windows of steps: label, value, and x on each axis that
    was logged, null where nothing was spent; no column where none logged the metric."""
    logged = [row for row in rows if isinstance(row.get(metric), int | float) and row["compute/step"] > 0]
    if not logged:
        return pl.DataFrame()
    frame = pl.DataFrame(logged, infer_schema_length=None)
    spent = {axis.name: pl.col(f"compute/{axis.name}") for axis in axes if f"compute/{axis.name}" in frame.columns}
    z = pl.col("compute/step").log()
    windows = frame.group_by("label", window=(z / z.max().over("label") * BINS).floor().fill_nan(0))
    means = windows.agg(pl.mean(metric).alias("value"), **{name: x.filter(x > 0).mean() for name, x in spent.items()})
    return means.sort("label", "window").drop("window")


def ledger_rows(table: Table, runs: Mapping[str, Rows], folders: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Rows {arm, part, unit, amount}: FLOPs by convention of pretraining and RL, seconds of each phase, mean over runs.

    Phases share a run's seconds as their times do, which of stacked runs are those of the whole stack.
    """
    spent = []
    known = table.frame.select("run_id", "arm", "base_id").unique(maintain_order=True).iter_rows()
    for run, arm, base in sorted(known, key=lambda one: table.arms.index(one[1])):
        if run not in runs:
            continue
        own = {("RL", "FLOPs"): runs[run][-1].get("compute/flops_convention")} | _phases(runs[run])
        if pretrained := metrics_rows(folders[run].parent / str(base)):
            own["pretraining", "FLOPs"] = pretrained[-1].get("compute/flops_convention")
            own["pretraining", "seconds"] = pretrained[-1].get("compute/seconds")
        spent += [(readable(arm), part, unit, float(amount or 0)) for (part, unit), amount in own.items()]
    rows = pl.DataFrame(spent, schema=dict.fromkeys(COLUMNS, pl.String) | {"amount": pl.Float64}, orient="row")
    return rows.group_by(COLUMNS, maintain_order=True).mean().filter(pl.col("amount") > 0).to_dicts()


def _phases(rows: Rows) -> dict[tuple[str, str], float]:
    times = {word: sum(row.get(f"time/{name}") or 0.0 for row in rows) for name, word in PHASES.items()}
    whole, seconds = sum(times.values()), rows[-1].get("compute/seconds") or 0.0
    return {(word, "seconds"): seconds * time / whole for word, time in times.items() if whole}


def ledger_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Stacked bars of each arm, a panel for FLOPs and one for seconds."""
    parts = ["pretraining", "RL", *PHASES.values()]
    first = rows[0]["arm"]
    flops = {row["part"]: row["amount"] for row in rows if row["arm"] == first and row["unit"] == "FLOPs"}
    title = "What a run costs"
    if {"pretraining", "RL"} <= set(flops):
        title += f": in {first} RL takes {flops['RL'] / sum(flops.values()):.0%} of the FLOPs, pretraining the rest"
    panels = {
        heading: ledger_chart(own, parts, heading)
        for unit, heading in (("FLOPs", "FLOPs by convention"), ("seconds", "Seconds"))
        if (own := [row for row in rows if row["unit"] == unit])
    }
    caption = "Mean over the runs of an arm; pretraining is that of its base, shared by all runs on it. No evaluation."
    return Figure(title, caption, panels, columns=2)


def ledger_chart(rows: Sequence[Mapping[str, Any]], parts: Sequence[str], x_title: str) -> Chart:
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    used = [part for part in parts if any(row["part"] == part for row in rows)]
    x = alt.X("amount:Q", title=x_title, stack="zero", axis=alt.Axis(format="~s", tickCount=5))
    y = alt.Y("arm:N", sort=arms, title=None, axis=alt.Axis(grid=False, labelLimit=170))
    data = inline([{"arm": row["arm"], "label": row["part"], "amount": row["amount"]} for row in rows])
    told, colour = tooltip("arm", "label", amount=".3~s"), arm_channels(used)["color"]
    bars = alt.Chart(data).mark_bar(height=14).encode(x, y, colour, tooltip=told)
    return alt.layer(bars).properties(height=26 * max(len(arms), 2))


def samples_section(table: Table, folders: Mapping[str, Path], arm: str) -> Section | None:
    """The most frequent completion of the same problems before RL and after it, of the arm's first run with samples."""
    runs = table.frame.filter(pl.col("arm") == arm).select("run_id", "seed").unique().sort("seed")
    for run, seed in runs.iter_rows():
        pairs = list(before_and_after(folders[run])) if run in folders else []
        if pairs:
            body = [_sample_row(before, after) for before, after in _spread(pairs)]
            header = ["task", "difficulty", "problem", "answer", "before RL", "after RL"]
            caption = f"The completion sampled most often by {readable(arm)}, seed {seed}, and how often."
            return Section("samples", "The same problems before and after RL", html_table(caption, header, body, 6))
    return None


def _spread(pairs: Sequence[tuple[Sample, Sample]]) -> list[tuple[Sample, Sample]]:
    """At most MOST_SAMPLES pairs, a task's first ones before any task's later ones, in the order of tasks."""
    tasks = [before.task for before, _ in pairs]
    ranked = [(tasks[:place].count(task), place) for place, task in enumerate(tasks)]
    kept = sorted(place for _, place in sorted(ranked)[:MOST_SAMPLES])
    return [pairs[place] for place in kept]


def _sample_row(before: Sample, after: Sample) -> list[str]:
    where = ", ".join(str(part) for part in (before.difficulty, before.setting) if part)
    written = map(code, (before.prompt, before.answer))
    return [readable(before.task), where, *written, *map(_most_often, (before, after))]


def _most_often(sample: Sample) -> Html:
    ((text, times),) = sample.most_common()
    return Html(f"{code(text)} {times}/{len(sample.completions)}")
