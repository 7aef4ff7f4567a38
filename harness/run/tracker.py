"""Metrics of a run. `metrics.jsonl` in its folder is the truth; Weights & Biases, if chosen, mirrors it.

One flat row per log point, keys "group/name", with the axes compute/step, compute/completions, compute/tokens,
compute/flops … in every row. Values that are not finite are written as null: JSON has no NaN.
"""

import json
import math
import os
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from harness.config.schema import NoTracker, WandbTracker
from harness.core.dotted import flatten
from harness.core.files import write_jsonl

STEP = "compute/step"
METRICS = "metrics.jsonl"
SAMPLES = "samples"  # folder of a run, one file a budget
SAMPLE_COLUMNS = ("step", "task", "difficulty", "prompt", "answer", "completion", "times")
METRIC_GROUPS = ("train", "optim", "eval", "time", "perf", "reward")

Row = Mapping[str, Any]


@dataclass
class Tracker:
    """Writes rows to the run's metrics.jsonl, line by line, and passes them to the mirror."""

    file: IO[str]
    mirror: Callable[[dict[str, Any]], None] = field(default=lambda row: None)

    def log(self, row: Row) -> None:
        """Writes one row; numbers may be numpy or torch scalars. Raises ValueError if `compute/step` is missing."""
        if STEP not in row:
            raise ValueError(f"a row of metrics needs {STEP}; this one has {', '.join(row) or 'nothing'}")
        plain = {key: _plain(value) for key, value in row.items()}
        self.file.write(json.dumps(plain) + "\n")
        self.mirror({key: value for key, value in plain.items() if value is not None})


@contextmanager
def open_tracker(
    config: NoTracker | WandbTracker,
    run_dir: Path,
    run_id: str,
    run_config: Mapping[str, Any],
    labels: Mapping[str, Any],
) -> Generator[Tracker]:
    """The tracker of one run: appends to its metrics.jsonl; the W&B run has id `run_id` and ends with the context.

    `labels`: study (the W&B group), arm (its job_type), name, tags; the others become configuration "labels.…".
    W&B gets sample completions too, as a table, when the run ends well.
    A W&B failure gives one warning, and training goes on without it.
    """
    path = Path(run_dir) / METRICS
    _drop_torn_line(path)
    with path.open("a", buffering=1) as file:
        if config.name == "none" or _is_base_of_sweep(labels):
            yield Tracker(file)
            return
        with wandb_run(config, run_dir, run_id, run_config, labels, f"All metrics are in {path}") as act:
            yield Tracker(file, lambda row: act(lambda run: run.log(row)))
            act(lambda run: _log_samples(run, run_dir))


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """The rows of a run, in order; [] if it has none. A last line that was cut off by a kill is left out.

    Raises ValueError, naming the line, for any other line that is not JSON.
    """
    path = Path(run_dir) / METRICS
    if not path.is_file():
        return []
    rows = []
    for number, line in enumerate(path.read_text().split("\n")[:-1], start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number} is not JSON ({error.msg}); was the file edited?") from None
    return rows


def cut_back(run_dir: Path, step: int) -> None:
    """Drops the rows after `step`, the checkpoint's, before a resume writes them again. All or nothing at a crash."""
    rows = read_metrics(run_dir)
    kept = [row for row in rows if row[STEP] <= step]
    path = Path(run_dir) / METRICS
    _drop_torn_line(path)
    if len(kept) == len(rows):
        return
    write_jsonl(path, kept)


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _drop_torn_line(path: Path) -> None:
    """Cuts off what follows the last newline: the rest of a line whose writer was killed."""
    if not path.is_file():
        return
    with path.open("rb+") as file:
        data = file.read()
        if not data.endswith(b"\n"):
            file.truncate(data.rfind(b"\n") + 1)


@contextmanager
def wandb_run(
    config: WandbTracker,
    run_dir: Path,
    run_id: str,
    run_config: Mapping[str, Any],
    labels: Mapping[str, Any],
    kept: str,
) -> Generator[Callable[[Callable[[Any], Any]], None]]:
    """Opens a W&B run and yields what applies an action to it. Its first failure gives a warning that ends
    with what is `kept` without it; later actions are then left out, and the caller goes on."""
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb  # here, since it takes most of a second

    broken: list[BaseException] = []
    failures = (wandb.Error, OSError, ValueError)

    def guarded(action: Callable[..., Any], *args: Any, **options: Any) -> Any:
        if broken:
            return None
        try:
            return action(*args, **options)
        except failures as error:
            broken.append(error)
            warnings.warn(
                f"run {run_id}: W&B failed ({type(error).__name__}: {error}); it goes on without. {kept}", stacklevel=2
            )

    run = guarded(_start, wandb, config, run_dir, run_id, run_config, labels)
    status = 1
    try:
        yield lambda action: guarded(action, run) if run else None
        status = 0
    finally:
        if run:
            guarded(run.finish, exit_code=status)


def _is_base_of_sweep(labels: Mapping[str, Any]) -> bool:
    """A W&B agent has one W&B run for each command, that of the RL run: the base that comes first stays out of it."""
    return "WANDB_SWEEP_ID" in os.environ and labels.get("arm") == "base"


def _log_samples(run: Any, run_dir: Path) -> None:
    """All sample completions of the run so far as one table: a table is an artifact, and one a budget would be many."""
    paths = sorted((Path(run_dir) / SAMPLES).glob("step-*.jsonl"))
    if paths:
        import wandb

        table = wandb.Table(columns=[*SAMPLE_COLUMNS])
        for path in paths:
            for row in sample_rows(path):
                table.add_data(*row)
        run.log({"samples": table})


def sample_rows(path: Path, most: int = 3) -> list[list[Any]]:
    """Rows of SAMPLE_COLUMNS from a run's samples/step-*.jsonl: the `most` frequent completions of each prompt, with
    how often each was sampled."""
    step = int(path.stem.removeprefix("step-"))
    rows = []
    for sample in map(json.loads, path.read_text().splitlines()):
        about = [step, sample["task"], sample["difficulty"], sample["prompt"], sample["answer"]]
        rows += [[*about, *found] for found in Counter(sample["completions"]).most_common(most)]
    return rows


def _start(
    wandb: Any,
    config: WandbTracker,
    run_dir: Path,
    run_id: str,
    run_config: Mapping[str, Any],
    labels: Mapping[str, Any],
) -> Any:
    """The W&B run. Timeouts keep a lost network from holding up training; what is not sent stays on disk."""
    rest = {f"labels.{key}": value for key, value in labels.items() if key not in ("study", "arm", "tags", "name")}
    run = wandb.init(
        mode=os.environ.get("WANDB_MODE") or ("online" if wandb.login(prompt=False) else "offline"),
        dir=run_dir,
        id=run_id,
        name=labels.get("name", run_id),
        resume="allow",
        project=config.project,
        entity=config.entity,
        group=labels.get("study"),
        job_type=labels.get("arm"),
        tags=_tags(config.tags, labels.get("tags", ())),
        config=flatten(run_config) | rest,
        settings=wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            disable_code=True,
            x_disable_stats=True,
            init_timeout=20,
            finish_timeout=60,
        ),
    )
    run.define_metric("compute/*")
    for group in METRIC_GROUPS:
        run.define_metric(f"{group}/*", step_metric=config.axis)
    return run


def _tags(fixed: Sequence[str], given: Sequence[str]) -> list[str]:
    return sorted({*fixed, *given})
