"""Jobs on Slurm, through submitit: arrays of packs, each pack some short jobs one after the other.

A pack that Slurm preempts or that runs out of time gets SIGUSR2 (submitit's choice): the run saves, and the pack is
requeued with the same arguments, so that it goes on exactly where it stood. What was queued is written down, so that a
later launch waits for it instead of queueing it twice. Run folders must lie on storage that all nodes see.
"""

import functools
import json
import os
import signal
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import submitit
from submitit.core.utils import FailedJobError, UncompletedJobError

from harness.config.schema import SubmititConfig
from harness.core.errors import UserError
from harness.core.signals import Stopped, deferred
from harness.launch.jobs import Event, Job
from harness.launch.local import POLL_SECONDS, THREAD_VARIABLES
from harness.launch.worker import attempt, job_from

PREEMPTED = signal.Signals["SIG" + submitit.JobEnvironment.USR_SIG]
NO_LIMIT = 1_000_000  # Slurm keeps the queue: everything that may run is handed over at once


class Pack:
    """Several jobs one after the other, on a node. Called again after a requeue, it passes over what is done."""

    def __init__(self, work: str, jobs: Sequence[dict[str, Any]], news: Path, threads: int):
        self.work, self.jobs, self.news, self.threads = work, list(jobs), news, threads

    def __call__(self) -> list[dict[str, Any]]:
        """The fields of the Event that ends each job. Does not return when it is requeued."""
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(self.threads)))
        events: list[dict[str, Any]] = []
        with deferred() as stop, self.news.open("a", buffering=1) as news:
            for fields in self.jobs:
                job = job_from(fields)
                events.append(attempt(self.work, job, functools.partial(_tell, news, job.run_id)))
                if stop() or events[-1]["kind"] == "cancelled":
                    break
        left = self.jobs[len(events) :]
        reason = str(stop() or events[-1]["data"])  # a signal during the run reached the run, not this `stop`
        if reason == str(Stopped(PREEMPTED)) and (left or events[-1]["kind"] == "cancelled"):
            signal.raise_signal(PREEMPTED)  # submitit's own answer: checkpoint(), requeue, leave
        return events + [{"run_id": job["run_id"], "kind": "cancelled", "data": reason} for job in left]

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """What to queue again: the same."""
        return submitit.helpers.DelayedSubmission(Pack(self.work, self.jobs, self.news, self.threads))


class SubmititPool:
    """A `Pool` of packs in Slurm's queue. With wait=false every job is `submitted`, and the launch returns at once."""

    def __init__(self, config: SubmititConfig, work: str, n_jobs: int):
        self._config, self._work = config, work
        self._folder = Path(config.folder).absolute()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._executor = _executor(config, self._folder)
        self._packs: list[_Queued] = []
        self._stopped_at: float | None = None

    def __enter__(self) -> "SubmititPool":
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def free(self) -> int:
        if self._config.executor == "slurm":
            return NO_LIMIT
        return self._config.jobs * self._config.pack - sum(len(pack.left) for pack in self._packs)

    def submit(self, jobs: Sequence[Job]) -> None:
        new = [job for job in jobs if not self._adopt(job)]
        if not new:  # submitit warns of a batch without jobs
            return
        packs = [new[start : start + self._config.pack] for start in range(0, len(new), self._config.pack)]
        names = [uuid.uuid4().hex for _ in packs]
        with self._executor.batch():
            handles = [
                self._executor.submit(
                    Pack(self._work, [asdict(job) for job in pack], self._news(name), self._config.cpus)
                )
                for name, pack in zip(names, packs, strict=True)
            ]
        for name, pack, handle in zip(names, packs, handles, strict=True):
            self._packs.append(_Queued(handle, self._news(name), {job.run_id for job in pack}))
            for job in pack:
                _write(self._note(job), {"job_id": handle.job_id, "news": name})

    def poll(self) -> Iterable[Event]:
        if not self._config.wait:
            submitted = [Event(run_id, "submitted", "in the queue") for pack in self._packs for run_id in pack.left]
            self._packs.clear()
            return submitted
        time.sleep(POLL_SECONDS)
        events = [event for pack in self._packs for event in pack.news(self._stopped_at is not None)]
        self._packs = [pack for pack in self._packs if pack.left]
        return events

    def stop(self) -> None:
        if self._stopped_at is None:
            self._stopped_at = time.monotonic()
            for pack in self._packs:
                pack.cancel()

    def _adopt(self, job: Job) -> bool:
        """Whether an earlier launch queued this job and it has not ended; then this one waits for it."""
        note = self._note(job)
        if not note.is_file():
            return False
        known = json.loads(note.read_text())
        handle = _handle(self._config, self._folder, known["job_id"])
        if _ended(handle):
            return False
        same = next((pack for pack in self._packs if pack.handle.job_id == handle.job_id), None)
        if same is None:
            self._packs.append(_Queued(handle, self._news(known["news"]), {job.run_id}))
        else:
            same.left.add(job.run_id)
        return True

    def _note(self, job: Job) -> Path:
        return self._folder / "queued" / f"{job.run_id}.json"

    def _news(self, name: str) -> Path:
        return self._folder / f"{name}.news"


class _Queued:
    """A pack in the queue. `left`: run_ids that this launch waits for."""

    def __init__(self, handle: submitit.Job, path: Path, left: set[str]):
        self.handle, self.left = handle, left
        self._path, self._read, self._since = path, 0, time.monotonic()

    def news(self, stopped: bool) -> Iterator[Event]:
        ended = _ended(self.handle)
        yield from self._progress()
        if ended:
            yield from self._ends(stopped)
            self.left.clear()

    def cancel(self) -> None:
        if isinstance(self.handle, submitit.LocalJob):
            os.kill(int(self.handle.job_id), signal.SIGTERM)  # cancel() would kill it before it could save
        else:
            self.handle.cancel(check=False)

    def _progress(self) -> Iterator[Event]:
        if not self._path.is_file():
            return
        with self._path.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            message = json.loads(line)
            if message["run_id"] in self.left:
                yield Event(message["run_id"], "progress", message["row"])

    def _ends(self, stopped: bool) -> Iterator[Event]:
        try:
            events = [Event(**event) for event in self.handle.result()]
        except (UncompletedJobError, FailedJobError) as error:
            kind = "cancelled" if stopped else "killed"
            events = [Event(run_id, kind, str(error), time.monotonic() - self._since) for run_id in self.left]
        yield from (event for event in events if event.run_id in self.left)


def _tell(news: IO[str], run_id: str, row: dict[str, Any]) -> None:
    news.write(json.dumps({"run_id": run_id, "row": row}) + "\n")


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))


def _handle(config: SubmititConfig, folder: Path, job_id: str) -> submitit.Job:
    return (submitit.LocalJob if config.executor == "local" else submitit.SlurmJob)(folder, job_id)


def _ended(handle: submitit.Job) -> bool:
    """Whether the job has left the queue. A local job of an earlier launch is known by its process id alone."""
    if handle.paths.result_pickle.exists():
        return True
    done = handle.done()
    if not isinstance(handle, submitit.LocalJob):
        return done
    try:
        os.kill(int(handle.job_id), 0)
    except ProcessLookupError:
        return True
    return False


def _executor(config: SubmititConfig, folder: Path) -> submitit.AutoExecutor:
    """Raises UserError where there is no Slurm."""
    try:
        executor = submitit.AutoExecutor(folder, cluster=config.executor)
    except RuntimeError as error:
        fix = "run this where sbatch and srun are on PATH; launcher.executor=local tries it out without Slurm"
        raise UserError("launcher=submitit", str(error), fix) from None
    executor.update_parameters(
        name="rl-scaling",
        timeout_min=config.minutes,
        cpus_per_task=config.cpus,
        gpus_per_node=config.gpus,
        mem_gb=config.memory_gb,
        slurm_partition=config.partition,
        slurm_account=config.account,
        slurm_array_parallelism=config.jobs,
        slurm_setup=list(config.setup),
        slurm_signal_delay_s=int(config.grace),
    )
    return executor
