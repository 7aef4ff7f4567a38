"""The sections drawn from run folders: how training went, what it cost, and completions before and after RL."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import polars as pl

from harness.analysis.data.json_files import metrics_rows
from harness.analysis.data.table import Table
from harness.analysis.report.budget_charts import metric_panel
from harness.analysis.report.chart_style import Chart, arm_channels, inline, only, readable
from harness.analysis.report.curve_series import Array, Axis
from harness.analysis.report.figures import Figure
from harness.analysis.report.html import Html, Section, code, html_table, section
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
    if runs and axes:
        panels = dynamics_panels(runs_by_arm(table, runs), axes, labels)
        if panels:
            figures["training_dynamics"] = Figure(
                f"{len(panels)} metrics of training, by arm",
                "Mean over runs, averaged over windows of steps that grow with the step.",
                panels,
                columns=3,
            )
        ledger = ledger_rows(table, runs, folders)
        if ledger:
            figures["compute_ledger"] = ledger_figure(ledger)
    if not figures:
        return None
    return section("training", "Training and its cost", figures)


def runs_by_arm(table: Table, runs: Mapping[str, Sequence[Mapping]]) -> dict[str, list[Sequence[Mapping]]]:
    """The metrics of the runs of each arm, under its readable name."""
    arm_of = dict(table.frame.select("run_id", "arm").unique().iter_rows())
    found: dict[str, list[Sequence[Mapping]]] = {}
    for run, rows in runs.items():
        if run in arm_of:
            found.setdefault(readable(arm_of[run]), []).append(rows)
    return found


def dynamics_panels(arms: Mapping[str, Sequence], axes: Sequence[Axis], labels: Sequence[str]) -> dict[str, Chart]:
    """A panel for each metric that some arm logged on the first axis of the page."""
    order = [*labels, *(name for name in arms if name not in labels)]
    panels = {}
    for metric, heading in DYNAMICS.items():
        lines = {arm: line for arm, runs in arms.items() if (line := mean_line(runs, metric, axes)) is not None}
        lines = {arm: line for arm, line in lines.items() if axes[0].name in line[0]}
        if lines:
            panels[heading] = metric_panel(lines, axes, order, legend=not panels)
    return panels


def mean_line(
    runs: Sequence[Sequence[Mapping]], metric: str, axes: Sequence[Axis]
) -> tuple[dict[str, Array], Array] | None:
    """A metric averaged over runs and log-spaced windows of steps: (x on each axis, y); None where none logged it."""
    names = [f"compute/{axis.name}" for axis in axes]
    rows = [row for run in runs for row in run if isinstance(row.get(metric), int | float) and row["compute/step"] > 0]
    if not rows:
        return None
    steps = np.array([row["compute/step"] for row in rows], dtype=float)
    window = np.floor(np.log(steps) / max(np.log(steps.max()), 1e-9) * BINS).astype(int)
    known = [name for name in names if all(row.get(name) for row in rows)]
    frame = pl.DataFrame({name: [float(row[name]) for row in rows] for name in (*known, metric)}).with_columns(
        at=window
    )
    means = frame.group_by("at").mean().sort("at")
    return {name.removeprefix("compute/"): means[name].to_numpy() for name in known}, means[metric].to_numpy()


def ledger_rows(
    table: Table, runs: Mapping[str, Sequence[Mapping]], folders: Mapping[str, Path]
) -> list[dict[str, Any]]:
    """Rows {arm, part, unit, amount}: FLOPs by convention of pretraining and RL, seconds of each phase, mean over runs.

    Phases share a run's seconds as their times do, which of stacked runs are those of the whole stack.
    """
    bases = dict(table.frame.select("run_id", "base_id").unique().iter_rows())
    arm_of = dict(table.frame.select("run_id", "arm").unique().iter_rows())
    spent: dict[tuple[str, str, str], list[float]] = {}
    for run, rows in sorted(runs.items(), key=lambda item: table.arms.index(arm_of.get(item[0], table.arms[-1]))):
        if run not in arm_of:
            continue
        own = {("RL", "FLOPs"): rows[-1].get("compute/flops_convention") or 0.0} | _phases(rows)
        base = metrics_rows(folders[run].parent / str(bases[run]))
        if base:
            own["pretraining", "FLOPs"] = base[-1].get("compute/flops_convention") or 0.0
            own["pretraining", "seconds"] = base[-1].get("compute/seconds") or 0.0
        for (part, unit), amount in own.items():
            spent.setdefault((readable(arm_of[run]), part, unit), []).append(float(amount))
    means = {key: float(np.mean(each)) for key, each in spent.items()}
    return [{"arm": a, "part": p, "unit": u, "amount": mean} for (a, p, u), mean in means.items() if mean > 0]


def _phases(rows: Sequence[Mapping]) -> dict[tuple[str, str], float]:
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
    shown = {
        "FLOPs by convention": [row for row in rows if row["unit"] == "FLOPs"],
        "Seconds": [row for row in rows if row["unit"] == "seconds"],
    }
    panels = {heading: ledger_chart(own, parts, heading) for heading, own in shown.items() if own}
    caption = "Mean over the runs of an arm; pretraining is that of its base, shared by all runs on it. No evaluation."
    return Figure(title, caption, panels, columns=2)


def ledger_chart(rows: Sequence[Mapping[str, Any]], parts: Sequence[str], x_title: str) -> Chart:
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    used = [part for part in parts if any(row["part"] == part for row in rows)]
    x = alt.X("amount:Q", title=x_title, stack="zero", axis=alt.Axis(format="~s", tickCount=5))
    y = alt.Y("arm:N", sort=arms, title=None, axis=alt.Axis(grid=False, labelLimit=170))
    told = ["arm:N", alt.Tooltip("label:N", title="part"), alt.Tooltip("amount:Q", format=".3~s")]
    data = inline([{"arm": row["arm"], "label": row["part"], "amount": row["amount"]} for row in rows])
    bars = alt.Chart(data).mark_bar(height=14).encode(x, y, tooltip=told, **only(arm_channels(used), "color"))
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
    return [
        readable(before.task),
        where,
        code(before.prompt),
        code(before.answer),
        *map(_most_often, (before, after)),
    ]


def _most_often(sample: Sample) -> Html:
    ((text, times),) = sample.most_common()
    return Html(f"{code(text)} {times}/{len(sample.completions)}")
