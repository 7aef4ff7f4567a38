"""A free sweep as a table: what was changed in each run, and its accuracy."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table as RichTable

from envs.registry import select
from harness.config.identity import evaluation_id, run_id
from harness.config.parse import dump
from harness.config.schema import Config
from harness.core.dotted import flatten
from harness.core.files import read_json
from harness.run.evaluations import role_accuracy
from harness.run.folder import run_folder

LONGEST_ARM = 60


def changed_settings(configs: Sequence[Config]) -> list[dict[str, Any]]:
    """For each configuration its values of the settings that are not the same in all, but for those that follow from
    the name of their group (algo.clip_low from algo.name)."""
    flat = [flatten(dump(config)) for config in configs]
    names = dict.fromkeys(name for settings in flat for name in settings)
    differing = [name for name in names if any(settings.get(name) != flat[0].get(name) for settings in flat)]
    kept = [name for name in differing if not any(_follows(name, other, flat) for other in differing)]
    return [{name: settings.get(name) for name in kept} for settings in flat]


def _follows(name: str, other: str, flat: Sequence[Mapping[str, Any]]) -> bool:
    """Whether `other` names the group of `name`, and no two configurations of one group differ in it."""
    if name == other or not other.endswith(".name") or not name.startswith(other.removesuffix("name")):
        return False
    pairs = {(str(settings.get(other)), str(settings.get(name))) for settings in flat}
    return len(pairs) == len({choice for choice, _ in pairs})


def sweep_arms(configs: Sequence[Config]) -> list[str]:
    """Each run's changed settings but for its seed, as in "optim.lr=0.01"; it becomes the W&B job type, so that
    seeds fall together. "" where nothing but seeds change."""
    changed = changed_settings(configs)
    named = ([f"{k.removesuffix('.name')}={v}" for k, v in values.items() if k != "seed"] for values in changed)
    return [" ".join(words)[:LONGEST_ARM] for words in named]


def accuracies(config: Config, role: str) -> dict[int, float]:
    """Step -> mean@1 over the tasks of the role, each counting the same; only the budgets that were measured."""
    folder, which = run_folder(config.out, run_id(config)), evaluation_id(config)
    tasks = {task.name for task in select(getattr(config.tasks, role))}
    contents = {step: read_json(folder.evaluation(which, step)) for step in config.budget_steps()}
    return {step: role_accuracy(found["rows"], tasks) for step, found in contents.items() if found and tasks}


def sweep_table(configs: Sequence[Config]) -> RichTable:
    """One row a run: the changed settings, and accuracy before RL and at the last budget measured, by role."""
    changed = changed_settings(configs)
    table = RichTable(title=f"held-out accuracy ({configs[0].evaluation.split}), before -> after", title_justify="left")
    for name in ("run", *changed[0], "verified", "unverified"):
        table.add_column(name)
    for config, values in zip(configs, changed, strict=True):
        roles = [_before_after(accuracies(config, role)) for role in ("verified", "unverified")]
        table.add_row(run_id(config), *(str(value) for value in values.values()), *roles)
    return table


def _before_after(by_step: Mapping[int, float]) -> str:
    if not by_step:
        return "-"
    last = max(by_step)
    return f"{by_step[min(by_step)]:.3f} -> {by_step[last]:.3f} (step {last})"
