"""Jobs in parallel processes on this machine.

Workers are started with their thread counts in the environment, before anything can import torch, and stay for the
next job. A worker that dies takes only its job with it. Messages are JSON, so nothing that cannot be written to a file
crosses the pipe. Each worker leads its own session: a Ctrl-C in the terminal reaches only the parent, which passes it
on, and a worker is ended together with the processes that it started.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, replace
from multiprocessing import Pipe
from multiprocessing.connection import wait
from pathlib import Path
from typing import IO, Any

from harness.config.schema import LocalConfig, StackedConfig
from harness.core.threads import BLAS_VARIABLES
from harness.launch.jobs import Event, Job

POLL_SECONDS = 0.5
OUTPUT_BYTES = 4000
THREAD_VARIABLES = (*BLAS_VARIABLES, "POLARS_MAX_THREADS")

_kept: "list[_Worker] | None" = None  # idle workers for the next pool; None outside kept_workers


def cores() -> int:
    """CPU cores that this process may use: its affinity, and its container's quota."""
    present = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _words("/sys/fs/cgroup/cpu.max")
    if len(quota) == 2 and quota[0] != "max":
        present = min(present, max(1, round(int(quota[0]) / int(quota[1]))))
    return present


def free_memory_gb() -> float:
    """Memory that new processes can take: what the kernel calls available, and what the container has left."""
    free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    meminfo = _words("/proc/meminfo")
    if "MemAvailable:" in meminfo:
        free = int(meminfo[meminfo.index("MemAvailable:") + 1]) * 1024
    limit, used = _words("/sys/fs/cgroup/memory.max"), _words("/sys/fs/cgroup/memory.current")
    if limit and used and limit[0] != "max":
        free = min(free, int(limit[0]) - int(used[0]))
    return free / 2**30


def concurrency(config: LocalConfig | StackedConfig, n_jobs: int) -> tuple[int, int]:
    """(jobs at once, threads for each): one job a core as far as memory goes, and the cores shared out among them."""
    by_memory = int(free_memory_gb() / config.memory_gb)
    at_once = config.jobs or max(1, min(cores(), by_memory))
    at_once = min(at_once, n_jobs)
    return at_once, config.threads or max(1, cores() // at_once)


@contextmanager
def kept_workers() -> Generator[None]:
    """Within it a pool leaves its idle workers to the next one of the same function and threads: to start a process and
    import PyTorch takes longer than a small job. None is left behind when the context ends."""
    global _kept
    before, _kept = _kept, []
    try:
        yield
    finally:
        for worker in _kept:
            worker.end()
        _kept = before


class LocalPool(AbstractContextManager):
    """A `Pool` of worker processes, none left behind when the context ends, but within `kept_workers`."""

    def __init__(self, config: LocalConfig | StackedConfig, function: bytes, n_jobs: int):
        self._size, self._threads = concurrency(config, n_jobs)
        self._grace, self._function = config.grace, function
        self._workers: list[_Worker] = []
        self._slots = list(range(self._size - 1, -1, -1))

    def __exit__(self, *error: object) -> None:
        for worker in self._workers:
            if _kept is not None and worker.is_idle:
                _kept.append(worker)
            else:
                worker.end()

    def free(self) -> int:
        return self._size - self._busy()

    def _busy(self) -> int:
        return sum(worker.job is not None for worker in self._workers)

    def submit(self, jobs: Sequence[Job]) -> None:
        # Whoever leaves slots free had no other job that could run now: those that run share them.
        share = max(1, self._size // max(1, self._busy() + len(jobs)))
        for job in jobs:
            idle = next((worker for worker in self._workers if worker.job is None), None)
            if idle is None:
                idle = _kept_or_new(self._slots.pop(), self._threads, self._function)
                self._workers.append(idle)
            idle.assign(replace(job, threads=share))

    def poll(self) -> Iterable[Event]:
        wait([worker.connection for worker in self._workers], timeout=POLL_SECONDS)
        events = [event for worker in self._workers for event in worker.events(self._grace)]
        for worker in [worker for worker in self._workers if worker.dead]:
            self._workers.remove(worker)
            self._slots.append(worker.slot)
        return events

    def stop(self) -> None:
        for worker in self._workers:
            worker.stop()


def _kept_or_new(slot: int, threads: int, function: bytes) -> "_Worker":
    kept = [] if _kept is None else _kept
    for worker in kept:
        if worker.started_with == (slot, threads, function) and worker.is_idle:
            kept.remove(worker)
            return worker
    return _Worker(slot, threads, function)


class _Worker:
    """One worker process, its job, and the parent's end of the pipe."""

    def __init__(self, slot: int, threads: int, function: bytes):
        self.slot, self.dead, self.started_with = slot, False, (slot, threads, function)
        self.job: Job | None = None
        self._stopped_at: float | None = None
        self._started = 0.0
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by end)
        self.connection, theirs = Pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "harness.launch.worker", str(theirs.fileno())],
            env=process_env_vars(slot, threads),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        theirs.close()
        self._send(function)

    @property
    def is_idle(self) -> bool:
        """Whether it lives, has no job and was not asked to stop."""
        return self.job is None and self._stopped_at is None and not self.dead and self._process.poll() is None

    def assign(self, job: Job) -> None:
        self.job, self._started = job, time.monotonic()
        self._output.truncate(0)
        self._output.seek(0)
        self._send(json.dumps(asdict(job)).encode())

    def events(self, grace: float) -> Iterator[Event]:
        """Its messages; at its death, the end of its job."""
        alive = self._process.poll() is None
        overdue = self._stopped_at is not None and time.monotonic() > self._stopped_at + grace
        if alive and overdue:
            self._kill()
            alive = False
        try:
            while self.connection.poll():
                yield self._event(json.loads(self.connection.recv_bytes()))
        except (EOFError, OSError):
            alive = False
        if not alive:
            yield from self._report_death(overdue)

    def _send(self, message: bytes) -> None:
        # One that died while idle cannot be reached: events() finds it dead and reports the job killed.
        with suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send_bytes(message)

    def stop(self) -> None:
        if self._stopped_at is None and self.job is not None:
            self._stopped_at = time.monotonic()
            self._process.send_signal(signal.SIGTERM)

    def end(self) -> None:
        """Ends the process and all that it started, without asking."""
        self._kill()
        self.connection.close()
        self._output.close()

    def _kill(self) -> None:
        with suppress(ProcessLookupError):  # it and its children are gone
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _event(self, message: dict[str, Any]) -> Event:
        if message["kind"] == "progress":
            return Event(**message)
        self.job = None
        return Event(**message, output=self._printed())

    def _report_death(self, overdue: bool) -> Iterator[Event]:
        self._kill()
        printed, job, self.dead = self._printed(), self.job, True
        if job is not None:
            kind = "killed" if self._stopped_at is None else "cancelled"
            reason = "did not stop in its grace time" if overdue else _cause_of_death(self._process.returncode)
            yield Event(job.run_id, kind, reason, time.monotonic() - self._started, printed)
        self.end()

    def _printed(self) -> str:
        end = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, end - OUTPUT_BYTES))
        return self._output.read().decode(errors="replace")


def process_env_vars(slot: int, threads: int) -> dict[str, str]:
    """Environment of the worker in `slot`: the parent's import path, its threads, its GPU where several are present."""
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if "CUDA_VISIBLE_DEVICES" in os.environ else _gpus()
    own_gpu = {"CUDA_VISIBLE_DEVICES": gpus[slot % len(gpus)]} if len(gpus) > 1 else {}
    counts = dict.fromkeys(THREAD_VARIABLES, str(threads))
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    python = {"PYTHONPATH": path, "PYTHONFAULTHANDLER": "1", "PYTHONUNBUFFERED": "1"}
    return {**os.environ, **counts, **own_gpu, **python}


def _cause_of_death(returncode: int) -> str:
    if returncode >= 0:
        return f"its process ended with status {returncode} in the middle of the job"
    name = signal.Signals(-returncode).name
    hint = " (out of memory? fewer launcher.jobs need less)" if name == "SIGKILL" else ""
    return f"its process was killed by {name}{hint}"


def _gpus() -> list[str]:
    folder = Path("/proc/driver/nvidia/gpus")
    return [str(index) for index, _ in enumerate(folder.iterdir())] if folder.is_dir() else []


def _words(path: str) -> list[str]:
    """Those of a file; [] where there is none."""
    return Path(path).read_text().split() if Path(path).is_file() else []
