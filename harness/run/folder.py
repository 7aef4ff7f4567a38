"""Run folders: where things lie, who is at work in one, and what became of it.

out/runs/<run_id>/
    config.json      the configuration that made it         metrics.jsonl    one row per step
    status.json      done, failed, running or stopped       checkpoints/     to go on from
    run.lock         host and process at work in it         budgets/         weights at budgets
    traceback.txt    of a failed run                        evaluations/     scores, by evaluation and budget
    dump/            batch of a step that gave no number    samples/         completions to read, by budget
    labels.json      study and arm of each launch           replay/          checkpoints of steps trained again
    ended.json       step at which rl.stop_at ended it

A damaged file is set aside as NAME.damaged (`harness.core.files`), and made again by the next job of the run.
"""

import json
import sys
import time
import traceback
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config.run_names import read_labels
from harness.core.files import damaged_copy, is_intact, read_json, remove_unfinished, write_hashed_json
from harness.core.signals import Stopped
from harness.launch.jobs import Job


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run."""

    path: Path

    @property
    def run_id(self) -> str:
        return self.path.name

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def budgets(self) -> Path:
        return self.path / "budgets"

    @property
    def replay(self) -> Path:
        return self.path / "replay"

    def labels(self) -> list[dict[str, Any]]:
        """The labels that the run was launched under, in order of their first launch; the first name it in W&B."""
        return read_labels(self.path)

    def add_labels(self, labels: Mapping[str, Any]) -> None:
        plain = json.loads(json.dumps(dict(labels)))
        if plain not in self.labels():
            write_hashed_json(self.path / "labels.json", {"labels": [*self.labels(), plain]})

    def evaluation(self, evaluation_id: str, step: int) -> Path:
        return self.path / "evaluations" / evaluation_id / f"step-{step:08d}.json"

    def status(self) -> dict[str, Any]:
        """{} if the run was never started."""
        return read_json(self.path / "status.json") or {}

    def set_status(self, state: str, step: int, **more: Any) -> None:
        content = {"state": state, "step": step, "time": time.time(), **more}
        write_hashed_json(self.path / "status.json", content)

    def set_reached(self, step: int) -> None:
        """Of a run at work; a run never goes back."""
        self.set_status("running", max(step, self.status().get("step", 0)))

    @property
    def end(self) -> int | None:
        """The step at which rl.stop_at ended the run; None where it goes as far as it is asked to."""
        found = read_json(self.path / "ended.json")
        return found["step"] if found else None

    def set_end(self, step: int, reason: str) -> None:
        write_hashed_json(self.path / "ended.json", {"step": step, "reason": reason})

    def within_end(self, step: int) -> int:
        """How far the run comes of the steps asked for."""
        return step if (end := self.end) is None else min(step, end)

    def remove_unfinished(self) -> None:
        """Deletes what processes that were killed while they wrote left behind; for the one that holds the run."""
        names = ("", "checkpoints", "budgets", "replay", "samples", "dump")
        for folder in (*(self.path / name for name in names), *self.path.glob("evaluations/*")):
            remove_unfinished(folder)

    def lacks_damaged_file(self) -> bool:
        """Whether one of the files that any job of the run writes was damaged, and was not made again yet."""
        paths = [self.path / name for name in ("config.json", "labels.json", "status.json")]
        damaged = [path for path in paths if not is_intact(path) and damaged_copy(path).exists()]
        return bool(damaged)


def run_folder(out: str | Path, run_id: str) -> RunFolder:
    return RunFolder(Path(out) / "runs" / run_id)


def folder_of(job: Job) -> RunFolder:
    return run_folder(job.run["out"], job.run_id)


@contextmanager
def record_outcome(folder: RunFolder) -> Generator[None]:
    """Leaves a status and, for a failure, traceback.txt, however the block ends."""
    (folder.path / "traceback.txt").unlink(missing_ok=True)
    outside = sys.exc_info()[1]  # one that the caller is handling is not the block's
    try:
        yield
    finally:
        error = sys.exc_info()[1]
        if error is not outside:
            step = folder.status().get("step", 0)
            state = "stopped" if isinstance(error, Stopped) else "failed"
            folder.set_status(state, step, error=f"{type(error).__name__}: {error}")
            if state == "failed":
                (folder.path / "traceback.txt").write_text(traceback.format_exc())
