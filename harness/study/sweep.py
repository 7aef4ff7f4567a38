"""A free sweep: what was changed in each run, its accuracy as a table, and what a sweeper is to optimise."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table as RichTable

from harness.config.identity import run_id
from harness.config.parse import dump
from harness.config.roles import ROLES
from harness.config.schema import Config
from harness.core.dotted import changed_names, flatten
from harness.core.errors import UserError, nearest
from harness.run.evaluations import budget_metrics, pooled_accuracy
from harness.run.folder import run_folder
from harness.run.tracker import read_metrics
from harness.study.run_summary import first_and_last

LONGEST_ARM = 60


def changed_settings(configs: Sequence[Config]) -> list[dict[str, Any]]:
    """For each configuration its values of the settings that are not the same in all, but for those that follow from
    the name of their group (algo.clip_low from algo.name)."""
    flat = [flatten(dump(config)) for config in configs]
    kept = changed_names(flat)
    return [{name: settings.get(name) for name in kept} for settings in flat]


def sweep_arms(configs: Sequence[Config]) -> list[str]:
    """Each run's changed settings but for its seed, as in "optim.lr=0.01"; it becomes the W&B job type, so that
    seeds fall together. "" where nothing but seeds change."""
    changed = changed_settings(configs)
    named = ([f"{k.removesuffix('.name')}={v}" for k, v in values.items() if k != "seed"] for values in changed)
    return [" ".join(words)[:LONGEST_ARM] for words in named]


def sweep_table(configs: Sequence[Config]) -> RichTable:
    """One row a run: the changed settings, and by role accuracy at its first and last budget, and the change."""
    changed = changed_settings(configs)
    split, steps = configs[0].evaluation.split, max(config.steps for config in configs)
    table = RichTable(title=f"held-out accuracy ({split}) before RL → after {steps} steps", title_justify="left")
    for name in (*changed[0], *ROLES):
        table.add_column(name.removesuffix(".name"), overflow="fold")
    for config, values in zip(configs, changed, strict=True):
        by_step = {step: pooled_accuracy(config, rows) for step, rows in first_and_last(config).items()}
        table.add_row(*(str(value) for value in values.values()), *(_before_after(by_step, r, steps) for r in ROLES))
    return table


def _before_after(by_step: Mapping[int, Mapping[str, float]], role: str, steps: int) -> str:
    values = [pooled[role] for pooled in by_step.values() if role in pooled]
    if not values:
        return "–"
    until = "" if max(by_step) == steps else f" (step {max(by_step)})"
    return f"{values[0]:.3f} → {values[-1]:.3f}{until}"


def objective_metric_value(config: Config) -> float:
    """The run's `objective_metric`: of its scores at the last budget measured, or the last logged. Raises UserError,
    with the nearest names, for one that the run does not have."""
    folder = run_folder(config.out, run_id(config))
    metrics: dict[str, Any] = {}
    for row in read_metrics(folder.path):
        metrics |= {name: value for name, value in row.items() if value is not None}
    for rows in first_and_last(config).values():
        metrics |= budget_metrics(config, folder, rows)
    if config.objective_metric not in metrics:
        near = " or ".join(nearest(config.objective_metric, metrics)) or "eval/verified/mean@1"
        raise UserError(f"objective_metric={config.objective_metric}", "no run logs it", f"did you mean {near}?")
    return metrics[config.objective_metric]


def refuse_tuning_on_test(config: Config, sweeper: str) -> None:
    """Raises UserError where a sweeper, named by its class, would choose settings by accuracy on the test split."""
    if sweeper.endswith(".BasicSweeper") or not config.objective_metric.startswith("eval/"):
        return
    if config.evaluation.split == "test":
        raise UserError(
            "evaluation.split=test with a sweeper that optimises",
            "settings chosen by test accuracy make it too good in whatever is reported later",
            "set evaluation.split=validation",
        )
