"""Run folders: where things lie, who is at work in one, and what became of it.

out/runs/<run_id>/
    config.json      the configuration that made it         metrics.jsonl    one row per step (the truth)
    status.json      done, failed, running or stopped       checkpoints/     to go on from
    run.lock         host and process at work in it         budgets/         weights at budgets
    traceback.txt    of a failed run                        evaluations/     scores, by evaluation and budget
    dump/            batch of a step that gave no number    samples/         completions to read, by budget
    labels.json      study and arm of each launch           replay/          checkpoints of steps trained again
"""

import json
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.config.identity import base_id
from harness.config.schema import Config
from harness.core.errors import UserError
from harness.core.signals import Stopped
from harness.launch.jobs import Job

STALE_SECONDS = 120.0


def write_json(path: Path, content: Any) -> None:
    """Atomically: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(content, indent=1))
    beside.replace(path)


def read_json(path: Path) -> Any:
    """None if there is no such file."""
    return json.loads(path.read_text()) if path.is_file() else None


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run."""

    path: Path
    run_id: str

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
        return read_json(self.path / "labels.json") or []

    def add_labels(self, labels: Mapping[str, Any]) -> None:
        plain = json.loads(json.dumps(dict(labels)))
        if plain not in self.labels():
            write_json(self.path / "labels.json", [*self.labels(), plain])

    def evaluation(self, evaluation_id: str, step: int) -> Path:
        return self.path / "evaluations" / evaluation_id / f"step-{step:08d}.json"

    def status(self) -> dict[str, Any]:
        """{} if the run was never started."""
        return read_json(self.path / "status.json") or {}

    def set_status(self, state: str, step: int, **more: Any) -> None:
        write_json(self.path / "status.json", {"state": state, "step": step, "time": time.time(), **more})


def run_folder(out: str | Path, run_id: str) -> RunFolder:
    return RunFolder(Path(out) / "runs" / run_id, run_id)


def _process_start(pid: int) -> str:
    """When a process was started, in the kernel's ticks; "" where that cannot be known. Tells a reused pid apart."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except OSError:
        return ""


def _owner_is_alive(lock: Mapping[str, Any]) -> bool:
    if lock["host"] != socket.gethostname():
        return time.time() - lock["heartbeat"] < STALE_SECONDS
    try:
        os.kill(lock["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return lock["pid"] != os.getpid() and lock["started"] == _process_start(lock["pid"])


def _lock_content() -> dict[str, Any]:
    pid = os.getpid()
    return {"host": socket.gethostname(), "pid": pid, "started": _process_start(pid), "heartbeat": time.time()}


def is_locked(folder: RunFolder) -> bool:
    """Whether a living process is at work in the folder."""
    lock = read_json(folder.path / "run.lock")
    return bool(lock) and _owner_is_alive(lock)


def _acquire_lock(folder: RunFolder) -> None:
    """Makes run.lock, or takes it over from a dead process; of several that try, one succeeds."""
    path = folder.path / "run.lock"
    mine = path.with_name(f".run.lock.{os.getpid()}")
    write_json(mine, _lock_content())
    try:
        while True:
            try:
                os.link(mine, path)  # fails if it is there, on network file systems too
                return
            except FileExistsError:
                _remove_dead(folder, path)
    finally:
        mine.unlink()


def _remove_dead(folder: RunFolder, path: Path) -> None:
    lock = read_json(path)
    if lock and _owner_is_alive(lock):
        raise UserError(
            f"the run {folder.run_id} is already running",
            f"process {lock['pid']} on {lock['host']} is at work in {folder.path}",
            "wait for it or stop it; two writers would spoil the run",
        )
    dead = path.with_name(f".run.lock.dead.{os.getpid()}")
    try:
        path.rename(dead)
    except FileNotFoundError:
        return  # another was faster
    if read_json(dead) != lock:
        os.link(dead, path)  # another had taken it over since it was read: it is theirs
    dead.unlink()


@contextmanager
def hold_lock(folder: RunFolder) -> Generator[None]:
    """Holds the run for this process, with a heartbeat; a lock that a dead process left is taken over. Raises UserError
    if it is held."""
    folder.path.mkdir(parents=True, exist_ok=True)
    _acquire_lock(folder)
    path, ended = folder.path / "run.lock", threading.Event()

    def beat() -> None:
        while not ended.wait(STALE_SECONDS / 6):
            write_json(path, _lock_content())

    heart = threading.Thread(target=beat, daemon=True)
    heart.start()
    try:
        yield
    finally:
        ended.set()
        heart.join()
        path.unlink(missing_ok=True)


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


@dataclass(frozen=True)
class Member:
    """One run of a stack."""

    job: Job
    config: Config
    folder: RunFolder

    @property
    def is_base(self) -> bool:
        return self.job.run_id == base_id(self.config)

    @property
    def source(self) -> tuple[Path, str]:
        """Where its weights at budgets lie, and whose they must be."""
        return self.folder.budgets, self.folder.run_id


Stack = Sequence[Member]  # runs of one model, alike but for their seeds; often one
