"""W&B runs that were recorded without a connection: which there are, and sending them."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.core.errors import UserError
from harness.run.tracker import read_metrics

AT_ONCE = 50  # paths of one call of `wandb sync`, so that the command line stays short


@dataclass(frozen=True)
class OfflineRun:
    """One recording. A run that was resumed has several, all with its run_id; W&B joins them by it."""

    path: Path  # …/wandb/offline-run-<time>-<run_id>, in the folder of a run, or of a study for its analysis
    run_id: str
    rows: int  # in the run's metrics.jsonl, which W&B mirrors
    sent: bool


def offline_runs(out: Path) -> list[OfflineRun]:
    """Recordings of all runs under `out`, then of its studies' analyses, by name and time. W&B marks a sent one by a
    file *.wandb.synced."""
    found = []
    for kind in ("runs", "studies"):
        for path in sorted(Path(out).glob(f"{kind}/*/wandb/offline-run-*")):
            # Two of one second have folders that differ by a suffix; the recording's own name holds the id alone.
            recorded = [file.stem.removeprefix("run-") for file in path.glob("run-*.wandb")]
            run_id = recorded[0] if recorded else path.name.split("-", 3)[3]
            sent = any(path.glob("*.wandb.synced"))
            found.append(OfflineRun(path, run_id, len(read_metrics(path.parent.parent)), sent))
    return found


def send(runs: Sequence[OfflineRun]) -> None:
    """Sends what was not sent yet. Raises UserError without a login, and when W&B fails: what was sent stays sent."""
    import wandb

    paths = [str(run.path) for run in runs if not run.sent]
    os.environ.setdefault("WANDB_SILENT", "true")
    if paths and not wandb.login(prompt=False):
        raise UserError("W&B", "not logged in", "run `wandb login`, or set WANDB_API_KEY; nothing was sent")
    command = [str(Path(sys.executable).with_name("wandb")), "sync", "--yes"]
    for start in range(0, len(paths), AT_ONCE):
        ended = subprocess.run([*command, *paths[start : start + AT_ONCE]], check=False)
        if ended.returncode:
            fix = "its words are above; the same command goes on with what is not sent yet"
            raise UserError("wandb sync", f"ended with status {ended.returncode}", fix)
