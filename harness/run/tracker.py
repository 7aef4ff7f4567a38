"""Metrics of a run. `metrics.jsonl` in its folder is the primary record; Weights & Biases, if chosen, copies it.

One flat row per log point, keys "group/name", with the axes compute/step, compute/completions, compute/tokens,
compute/flops … in every row. Values that are not finite are written as null: JSON has no NaN.
"""

import json
import math
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from harness.config.schema import NoTracker, WandbTracker
from harness.core.files import read_jsonl, set_aside, sha256, write_jsonl
from harness.run.wandb_run import Warn, is_base_of_sweep, log_weights, samples_table, wandb_run, warn_here

STEP = "compute/step"
METRICS = "metrics.jsonl"

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
    warn: Warn = warn_here,
) -> Generator[Tracker]:
    """The tracker of one run: appends to its metrics.jsonl; the W&B run has id `run_id` and ends with the context.

    `labels`: study (the W&B group), arm (its job_type), name; they are part of its configuration too.
    W&B gets a table of samples with each row of scores and, if the configuration asks for them, the weights when the
    run ends well. Its first failure is given to `warn`, and training goes on without it.
    """
    path = Path(run_dir) / METRICS
    _drop_torn_line(path)
    with path.open("a", buffering=1) as file:
        if isinstance(config, NoTracker) or is_base_of_sweep(labels):
            yield Tracker(file)
            return
        with wandb_run(config, run_id, run_config, labels, f"All metrics are in {path}", warn) as act:
            yield Tracker(file, lambda row: act(lambda run: run.log({**row, **samples_table(run_dir, row)})))
            if config.log_model:
                act(lambda run: log_weights(run, run_dir, read_metrics(run_dir)))


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """The rows of a run, in order; [] if it has none. A last line that was cut off by a kill is left out.

    Raises ValueError, naming the line, for any other line that is not JSON.
    """
    path = Path(run_dir) / METRICS
    if not path.is_file():
        return []
    try:
        return read_jsonl(path)
    except ValueError as error:
        raise ValueError(f"{error}; was the file edited?") from None


def metrics_record(run_dir: Path) -> dict[str, Any]:
    """What a run's status keeps of its metrics, to find out later that they are damaged."""
    path = Path(run_dir) / METRICS
    data = path.read_bytes() if path.is_file() else b""
    return {"bytes": len(data), "sha256": sha256(data)}


def check_metrics(run_dir: Path, status: Mapping[str, Any]) -> None:
    """Sets metrics.jsonl aside if it is not what the run's status says. Statuses of older versions, and those of runs
    that are not done, do not say: then rows must be JSON, and those of a run that is done must reach its step."""
    path = Path(run_dir) / METRICS
    if path.is_file() and (reason := _damage(path, status)):
        set_aside(path, reason)


def _damage(path: Path, status: Mapping[str, Any]) -> str:
    """What is wrong; "" if nothing is. Rows that were logged later follow the bytes on record."""
    if record := status.get("metrics"):
        whole = sha256(path.read_bytes()[: record["bytes"]]) == record["sha256"]
        return "" if whole else "its content does not match its hash"
    try:
        steps = [row[STEP] for row in read_metrics(path.parent)]
    except (ValueError, TypeError, KeyError) as error:
        return str(error)
    if steps and status.get("state") == "done" and max(steps) < status["step"]:
        return f"its rows end at step {max(steps)}, and the run came to step {status['step']}"
    return ""


def cut_back(run_dir: Path, step: int) -> None:
    """Drops the rows after `step`, the checkpoint's, before a resume writes them again. All or nothing at a crash."""
    rows, path = read_metrics(run_dir), Path(run_dir) / METRICS
    kept = [row for row in rows if row[STEP] <= step]
    _drop_torn_line(path)
    if len(kept) < len(rows):
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
