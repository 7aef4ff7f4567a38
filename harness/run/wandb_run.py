"""A run in Weights & Biases: its settings, its tables of samples and its weights. What fails here stops no training.

W&B is imported where it is used, since that takes most of a second.
"""

import os
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.config.identity import code_version
from harness.config.run_names import BASE_ARM
from harness.config.schema import WandbTracker
from harness.core.samples import COLUMNS, sample_rows
from harness.run.evaluations import VERIFIED_ACCURACY

METRIC_GROUPS = ("train", "optim", "eval", "time", "perf", "reward")

Act = Callable[[Callable[[Any], Any]], None]
Warn = Callable[[str], None]


def warn_here(text: str) -> None:
    """A warning of Python's, which the user of this process reads."""
    warnings.warn(text, stacklevel=2)


@contextmanager
def wandb_run(
    config: WandbTracker,
    run_id: str,
    run_config: Mapping[str, Any],
    labels: Mapping[str, Any],
    kept: str,
    warn: Warn = warn_here,
) -> Generator[Act]:
    """Opens a W&B run and yields what applies an action to it. Its first failure is given to `warn`, in a text that
    ends with what is `kept` without it; later actions are then left out, and the caller goes on."""
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    broken: list[BaseException] = []
    failures = (wandb.Error, OSError, ValueError)

    def guarded(action: Callable[..., Any], *args: Any, **options: Any) -> Any:
        if broken:
            return None
        try:
            return action(*args, **options)
        except failures as error:
            broken.append(error)
            warn(f"run {run_id}: W&B failed ({type(error).__name__}: {error}); it goes on without. {kept}")

    run = guarded(_start, wandb, config, run_id, run_config, labels)
    status = 1
    try:
        yield lambda action: guarded(action, run) if run else None
        status = 0
    finally:
        if run:
            guarded(run.finish, exit_code=status)


def _start(
    wandb: Any, config: WandbTracker, run_id: str, run_config: Mapping[str, Any], labels: Mapping[str, Any]
) -> Any:
    """The W&B run. Timeouts keep a lost network from holding up training; what is not sent stays on disk."""
    Path(config.dir).mkdir(parents=True, exist_ok=True)
    run = wandb.init(
        mode=config.mode or os.environ.get("WANDB_MODE") or ("online" if wandb.login(prompt=False) else "offline"),
        dir=config.dir,
        id=run_id,
        name=_name(config.name, run_id, labels),
        resume="allow",
        project=config.project,
        entity=config.entity,
        group=config.group or labels.get("study"),
        job_type=labels.get("arm"),
        notes=config.notes,
        tags=sorted({*config.tags}),
        config={**run_config, "labels": dict(labels), "code_version": code_version()},
        settings=wandb.Settings(
            silent=True,
            console="wrap",
            reinit="create_new",  # a stack has several runs in one process
            x_disable_stats=not config.system_metrics,
            init_timeout=20,
            finish_timeout=60,
        ),
    )
    run.define_metric("compute/*")
    for group in METRIC_GROUPS:
        run.define_metric(f"{group}/*", step_metric=config.axis)
    return run


def _name(asked: str | None, run_id: str, labels: Mapping[str, Any]) -> str:
    """The display name, or what the user asked for, which alone names only a run that was launched alone."""
    shown = labels.get("name", run_id)
    if asked is None:
        return shown
    alone = labels.get("study") == "single" and labels.get("arm") != BASE_ARM
    return asked if alone else f"{asked}-{shown}"


def is_base_of_sweep(labels: Mapping[str, Any]) -> bool:
    """A W&B agent has one W&B run for each command, that of the RL run: the base that comes first stays out of it."""
    return "WANDB_SWEEP_ID" in os.environ and labels.get("arm") == BASE_ARM


def samples_table(run_dir: Path, row: Mapping[str, Any]) -> dict[str, Any]:
    """{"samples": table} beside the scores of a budget: each problem with what the policy wrote before RL and now; {}
    for any other row."""
    is_scored = any(name.startswith("eval/") for name in row)
    rows: list[Iterable[Any]] = [*sample_rows(run_dir, row["compute/step"])] if is_scored else []
    if not rows:
        return {}
    import wandb

    return {"samples": wandb.Table(columns=[*COLUMNS], data=rows)}


def log_weights(run: Any, run_dir: Path, metrics: Sequence[Mapping[str, Any]]) -> None:
    """The weights at the last budget and at that of the best accuracy on verified tasks, as versions `last` and `best`
    of one artifact."""
    import wandb

    kept = sorted((run_dir / "budgets").glob("step-*"))
    steps = {int(path.name.removeprefix("step-")): path for path in kept}
    if not steps:
        return
    scores = {r["compute/step"]: r[VERIFIED_ACCURACY] for r in metrics if r.get(VERIFIED_ACCURACY) is not None}
    last = max(steps)
    best = max((step for step in steps if step in scores), key=lambda step: scores[step], default=last)
    for step in sorted({best, last}):
        artifact = wandb.Artifact(f"weights-{run.id}", "model", metadata={"step": step, "accuracy": scores.get(step)})
        artifact.add_dir(str(steps[step]))
        artifact.add_file(str(run_dir / "config.json"))
        aliases = [name for name, place in (("best", best), ("last", last)) if place == step]
        run.log_artifact(artifact, aliases=[*aliases, f"step-{step}"])
