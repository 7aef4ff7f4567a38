"""What a comparison draws: runs, or replicates of a table's arms, in groups that differ in their seeds alone."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from harness.analysis.data.json_files import metrics_rows
from harness.analysis.data.table import Table, load_table
from harness.analysis.data.table_checks import TableError
from harness.analysis.report.curve_series import AXES, Axis, Series, arm_series, log_axis
from harness.config.run_names import name_of, short_setting
from harness.core.dotted import changed_names, flatten
from harness.core.files import read_json

POOLED = {"verified": "eval/verified/mean@1", "unverified": "eval/unverified/mean@1"}
# Parts of a configuration in which replicates may differ, and runs without being other runs.
NO_SETTINGS = ("seed", "base.seed", "name", "out", "plan", "tracker.", "launcher.", "save.", "objective_metric")
MOST_NAMED = 3  # settings in a label; where more were changed, the run's name says it
SEEDS = re.compile(r"-s\d+(-b\d+)?$")


@dataclass(frozen=True)
class Run:
    """A run, or a replicate of a table's arm. metrics: of each its value and x on each axis where it was logged.
    config: flat, for what differs; of an arm its name alone."""

    label: str
    metrics: Mapping[str, pl.DataFrame]
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seeds alone. settings: their values of what was changed among the groups."""

    label: str
    settings: Mapping[str, Any]
    runs: tuple[Run, ...]


def load_runs(path: Path) -> list[Run]:
    """The run of a run folder, or the replicates of each arm of a study folder or table. Raises TableError."""
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
    numbers = [{k: float(v) for k, v in row.items() if isinstance(v, int | float)} for row in rows]
    frame = pl.DataFrame(numbers, infer_schema_length=None)
    axes = {name: f"compute/{name}" for name in AXES if f"compute/{name}" in rows[0]}
    names = frame.select(~pl.selectors.starts_with("compute/")).columns
    metrics = {name: frame.select(value=name, **axes).drop_nulls("value") for name in names}
    return Run(name_of(path), metrics, flatten(read_json(path / "config.json") or {}))


def arms_of(data: Table, name: str) -> list[Run]:
    """Each replicate of each arm of a table, with accuracies under the names that a run's metrics give them."""
    found = []
    for arm in data.arms:
        for size in data.sizes(arm):
            tasks = {POOLED[role]: data.tasks(arm, role) for role in data.roles(arm) if role in POOLED}
            tasks |= {f"eval/{task}/mean@1": [task] for task in data.tasks(arm)}
            drawn = {metric: arm_series(data, arm, names, size) for metric, names in tasks.items()}
            known = {metric: one for metric, one in drawn.items() if one is not None}
            label = f"{name}: {arm}" + (f", {size:,} parameters" if len(data.sizes(arm)) > 1 else "")
            for seed in next(iter(known.values())).runs["seed"].unique(maintain_order=True) if known else ():
                metrics = {metric: line for metric, one in known.items() if (line := _line(one, seed)).height}
                found.append(Run(f"{label}, {seed}", metrics, {"arm": label}))
    return found


def _line(one: Series, seed: str) -> pl.DataFrame:
    """A replicate's curve, budget 0 first where it was evaluated."""
    axes = [name for name in one.axes if name != "x"] or ["x"]
    own = one.runs.filter(seed=seed).join(one.points, on="x", how="left")
    return own.select(pl.col(axes).fill_null(0.0), value="accuracy")


def common_axes(runs: Sequence[Run]) -> list[Axis]:
    """The axes that every line has, over all their budgets above 0. Raises TableError where there is none."""
    lines = [line for run in runs for line in run.metrics.values()]
    names = [name for name in (*AXES, "x") if lines and all(name in line.columns for line in lines)]
    above = {name: pl.concat([line[name] for line in lines]).drop_nulls() for name in names}
    usable = {name: x.filter(x > 0).to_numpy() for name, x in above.items() if (x > 0).any()}
    if not usable:
        raise TableError("these runs share no axis: compare run folders with run folders, or give the tables a step")
    return [log_axis(name, [x]) for name, x in usable.items()]


def groups_of(runs: Sequence[Run]) -> list[Group]:
    """Runs that differ in their seeds alone, together; in the order of their settings' values."""
    if any("arm" in run.config for run in runs):  # an arm's settings are not in its table
        keys = [run.config.get("arm") or SEEDS.sub("", run.label) for run in runs]
        if len({key.partition(": ")[0] for key in keys}) == 1:  # of one table
            keys = [key.partition(": ")[2] or key for key in keys]
        return [Group(key, {}, own) for key, own in _alike(keys, runs).items()]
    names = changed_names(list(map(_settings, runs)))
    settings = [{name: run.config.get(name) for name in names} for run in runs]
    swept = _without_repeats(names, settings)
    together = [
        ({name: own[0].config.get(name) for name in swept}, own)
        for own in _alike(list(map(repr, settings)), runs).values()
    ]
    together.sort(key=lambda each: [sort_key(value) for value in each[0].values()])
    labels = [_label(*each) for each in together]
    unlike = [label if labels.count(label) == 1 else f"{label} ({i})" for i, label in enumerate(labels, 1)]
    return [Group(label, *each) for label, each in zip(unlike, together)]


def _settings(run: Run) -> dict[str, Any]:
    return {k: v for k, v in run.config.items() if not k.startswith(NO_SETTINGS)}


def repeated_settings(groups: Sequence[Group]) -> list[str]:
    """Settings that were changed and are left out of the groups' own, since each goes with one of these."""
    if not groups[0].settings:
        return []
    names = changed_names([_settings(run) for group in groups for run in group.runs])
    return [name for name in names if name not in groups[0].settings]


def _alike(keys: Sequence[str], runs: Sequence[Run]) -> dict[str, tuple[Run, ...]]:
    """The runs of each key."""
    return {key: tuple(run for other, run in zip(keys, runs) if other == key) for key in keys}


def _without_repeats(names: Sequence[str], settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names without those whose value goes with that of an earlier one, as rl.problems may with rl.group_size."""
    kept: list[str] = []
    for name in names:
        values = [repr(each[name]) for each in settings]
        earlier = [[repr(each[other]) for each in settings] for other in kept]
        if not any(len(set(zip(values, other))) == len(set(values)) == len(set(other)) for other in earlier):
            kept.append(name)
    return kept


def sort_key(value: Any) -> tuple[int, float, str]:
    """Numbers by size, before words, which keep the alphabet."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return (0, float(value), "") if is_number else (1, 0.0, str(value))


def setting_words(name: str, value: Any) -> str:
    """optim.lr and 0.0001 → lr=1e-4; algo.name and grpo → algo=grpo."""
    return short_setting(f"{name.removesuffix('.name')}={value}")


def _label(settings: Mapping[str, Any], runs: Sequence[Run]) -> str:
    names = list(dict.fromkeys(SEEDS.sub("", run.label) for run in runs))
    if not settings or len(settings) > MOST_NAMED:
        return names[0]
    return ", ".join(setting_words(*each) for each in settings.items())


def group_curve(group: Group, metric: str) -> pl.DataFrame | None:
    """A metric of a group at the budgets that all its runs have: value (the mean), low and high (the lowest and the
    highest run), and x on each axis. None where no run of the group has the metric, or they share no budget."""
    lines = [run.metrics[metric] for run in group.runs if metric in run.metrics]
    if not lines:
        return None
    key = next(name for name in (*AXES, "x") if name in lines[0].columns)
    each = pl.concat([line.unique(key, keep="last") for line in lines], how="diagonal")
    found = each.group_by(key).agg(pl.all().mean(), low=pl.min("value"), high=pl.max("value"), runs=pl.len())
    shared = found.filter(runs=len(lines)).drop("runs").sort(key)
    return None if shared.is_empty() else shared
