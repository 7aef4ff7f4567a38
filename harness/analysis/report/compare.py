"""Any runs over one another: run folders, study folders and run tables, every metric of theirs, on every axis."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.analysis.data.run_files import metrics_rows
from harness.analysis.data.table import Table, load_table
from harness.analysis.data.table_checks import TableError
from harness.analysis.report.budget_charts import metric_panel
from harness.analysis.report.chart_style import Chart, colour_of, dash_of
from harness.analysis.report.curve_series import AXES, Axis, Series, arm_series, log_axis
from harness.analysis.report.figures import Figure
from harness.analysis.report.html import Section, figure_slot, html_table, line_swatch
from harness.analysis.report.report_page import render_page
from harness.analysis.stats.formatting import format_significant
from harness.config.run_names import name_of
from harness.core.files import read_json

Array = NDArray[np.float64]
Line = tuple[dict[str, Array], Array]  # x on each axis, y
# Groups of metrics in the order shown; others follow by name.
GROUPS = ("accuracy", "eval", "train", "optim", "perf", "time")


@dataclass(frozen=True)
class Run:
    """One line to overlay: a run, or an arm of a study (mean over its replicates). config: flat, for what differs."""

    label: str
    metrics: Mapping[str, Line]
    config: Mapping[str, Any]


def compare(runs: Sequence[str | Path], out: str | Path) -> Path:
    """Writes `out/compare.html`, all runs in every figure; returns its path.

    Raises TableError where a path is neither a run folder (metrics.jsonl) nor a study folder or run table.
    """
    loaded = [run for path in runs for run in load_runs(Path(path))]
    if not loaded:
        raise TableError("nothing to compare: name run folders or tables, e.g. runs='[outputs/a,outputs/b]'")
    axes = common_axes(loaded)
    metrics = list(dict.fromkeys(name for run in loaded for name in run.metrics))
    groups = sorted({name.split("/")[0] for name in metrics}, key=lambda group: (_place(group), group))
    sections = [differences(loaded)] + [_group(group, sorted(metrics), loaded, axes) for group in groups]
    path = Path(out) / "compare.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_page(f"{len(loaded)} runs compared", "", sections, axes))
    return path


def load_runs(path: Path) -> list[Run]:
    """The run of a run folder, or one for each arm of a study folder or table."""
    if (path / "metrics.jsonl").exists():
        return [run_folder(path)]
    if path.is_dir() and not any(path.rglob("table.parquet")):
        nested = sorted(file.parent for file in path.rglob("metrics.jsonl"))
        if not nested:
            raise TableError(f"{path} holds neither metrics.jsonl (a run) nor table.parquet (a study)")
        return [run_folder(folder) for folder in nested]
    return arms_of(load_table(path), path.stem)


def run_folder(path: Path) -> Run:
    """A run from its metrics.jsonl; a last line torn by a kill is left out. Raises TableError naming a broken line."""
    rows = metrics_rows(path)
    if not rows:
        raise TableError(f"{path / 'metrics.jsonl'} has no rows yet: let the run log at least once")
    axes = {name: f"compute/{name}" for name in AXES if f"compute/{name}" in rows[0]}
    names = {name for row in rows for name in row if not name.startswith("compute/")}
    metrics = {}
    for name in names:
        known = [row for row in rows if isinstance(row.get(name), int | float)]
        if known:
            x = {axis: np.array([row[key] for row in known], dtype=float) for axis, key in axes.items()}
            metrics[name] = (x, np.array([row[name] for row in known], dtype=float))
    return Run(name_of(path), metrics, flatten_config(read_json(path / "config.json") or {}))


def arms_of(data: Table, name: str) -> list[Run]:
    """Each arm of a table: accuracy pooled by role, and by task under the name that a run's metrics give it."""
    found = []
    for arm in data.arms:
        for size in data.sizes(arm):
            pools = {f"accuracy/{role}": data.tasks(arm, role) for role in data.roles(arm)}
            tasks = pools | {f"eval/{task}/mean@1": [task] for task in data.tasks(arm)}
            drawn = {metric: arm_series(data, arm, names, size) for metric, names in tasks.items()}
            metrics = {metric: _line(one) for metric, one in drawn.items() if one is not None}
            label = f"{name}: {arm}" + (f", {size:,} parameters" if len(data.sizes(arm)) > 1 else "")
            found.append(Run(label, metrics, {"arm": arm}))
    return found


def _line(one: Series) -> Line:
    """The mean curve, budget 0 first where it was evaluated."""
    before = one.before[np.isfinite(one.before)]
    start = [0.0] if len(before) else []
    axes = {name: np.array([*start, *values]) for name, values in one.axes.items() if name != "x" or len(one.axes) == 1}
    return axes, np.array([*([before.mean()] if len(before) else []), *one.mean])


def flatten_config(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration as dotted keys."""
    items: dict[str, Any] = {}
    for key, value in config.items():
        items |= flatten_config(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return items


def common_axes(runs: Sequence[Run]) -> list[Axis]:
    """The axes that every line has, over all their budgets above 0."""
    lines = [line for run in runs for line in run.metrics.values()]
    names = [name for name in (*AXES, "x") if lines and all(name in x for x, _ in lines)]
    above = {name: [x[name][x[name] > 0] for x, _ in lines if (x[name] > 0).any()] for name in names}
    usable = [name for name in names if above[name]]
    if not usable:
        raise TableError("these runs share no axis: compare run folders with run folders, or give the tables a step")
    return [log_axis(name, above[name]) for name in usable]


def differences(runs: Sequence[Run]) -> Section:
    """A row for each run: its line in the figures, what of its configuration differs, where its accuracies ended."""
    keys = sorted({key for run in runs for key in run.config})
    differing = [key for key in keys if len({repr(run.config.get(key)) for run in runs}) > 1]
    scores = sorted({name for run in runs for name in run.metrics if name.startswith(("eval/", "accuracy/"))})
    rows = []
    for i, run in enumerate(runs):
        settings = [str(run.config.get(key, "–")) for key in differing]
        ends = [format_significant(float(run.metrics[name][1][-1])) if name in run.metrics else "–" for name in scores]
        rows.append([line_swatch(colour_of(i), " ".join(map(str, dash_of(i)))), run.label, *settings, *ends])
    caption = "Settings that differ, and the last value of each accuracy."
    return Section("runs", "Runs", html_table(caption, ["line", "run", *differing, *scores], rows, 2 + len(differing)))


def _place(group: str) -> int:
    return GROUPS.index(group) if group in GROUPS else len(GROUPS)


def _group(group: str, metrics: Sequence[str], runs: Sequence[Run], axes: Sequence[Axis]) -> Section:
    """A small multiple for each metric of a group."""
    own = [name for name in metrics if name.split("/")[0] == group]
    caption = "Each line a run, in the colour and dashes of the table above."
    figure = Figure(f"{len(own)} metrics of {group}", caption, {name: overlay(name, runs, axes) for name in own}, 4)
    return Section(group, group, figure_slot(group, figure, files=False), {group: figure})


def overlay(metric: str, runs: Sequence[Run], axes: Sequence[Axis]) -> Chart:
    """One metric of every run that has it."""
    places = {name: i for i, name in enumerate(line_names(runs))}
    lines = {name: runs[i].metrics[metric] for name, i in places.items() if metric in runs[i].metrics}
    placed = {
        name: ({axis.name: np.where(x[axis.name] > 0, x[axis.name], axis.zero) for axis in axes}, y)
        for name, (x, y) in lines.items()
    }
    return metric_panel(placed, axes, list(places))


def line_names(runs: Sequence[Run]) -> list[str]:
    """The runs' labels, numbered where two are alike."""
    labels = [run.label for run in runs]
    return [
        name if labels.count(name) == 1 else f"{name} ({labels[:i].count(name) + 1})" for i, name in enumerate(labels)
    ]
