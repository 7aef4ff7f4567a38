"""Jobs on Slurm, through submitit: arrays of packs (packs.py), each pack some short jobs one after the other.

How jobs end is read from the packs' messages; whether a pack will run, or run again, only the queue says
(slurm_queue.py), so that a requeue or a preemption is waited for. Before its time is over a pack gets SIGUSR2
(submitit's choice), saves, and is requeued. What is queued is written down before it is, so that a later launch waits
for it instead of queueing it twice. Run folders must lie on storage that all nodes see.
"""

import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedSubmissionError, UncompletedJobError

from harness.config.schema import SubmititConfig
from harness.core.errors import UserError
from harness.launch.jobs import Event, Job
from harness.launch.local import POLL_SECONDS
from harness.launch.packs import Pack, QueuedPack
from harness.launch.slurm_queue import ProcessQueue, SlurmQueue
from harness.launch.worker import job_from

NAME = "rl-scaling"
NO_LIMIT = 1_000_000  # Slurm keeps the queue: everything that may run is handed over at once
KILL_SECONDS = 30.0  # Slurm's own default between its SIGTERM and its SIGKILL (KillWait)


class SubmititPool(AbstractContextManager):
    """A `Pool` of packs in Slurm's queue. With wait=false every job is `submitted`, and the launch returns at once."""

    def __init__(self, config: SubmititConfig, function: bytes, n_jobs: int):
        self._config, self._function = config, function
        self._folder = Path(config.folder).absolute()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._executor = _executor(config, self._folder)
        self._queue = SlurmQueue() if config.executor == "slurm" else ProcessQueue()
        self._packs: list[QueuedPack] = []  # that this launch waits for
        self._later: list[tuple[Job, QueuedPack]] = []  # jobs, each queued once the pack has ended
        self._earlier = self._find_earlier()
        self._stopped_at: float | None = None

    def __exit__(self, *error: object) -> None:
        self.stop()

    def free(self) -> int:
        if self._config.executor == "slurm":
            return NO_LIMIT
        return self._config.jobs * self._config.pack - len(self._later) - sum(len(pack.left) for pack in self._packs)

    def submit(self, jobs: Sequence[Job]) -> None:
        new = [job for job in jobs if not self._adopt(job)]
        if not new:  # submitit warns of a batch without jobs
            return
        groups = [new[start : start + self._config.pack] for start in range(0, len(new), self._config.pack)]
        batch = f"{NAME}-{uuid.uuid4().hex[:12]}"
        names = [f"{batch}_{index}" for index in range(len(groups))] if len(groups) > 1 else [batch]
        packs = [
            QueuedPack(self._folder, name, {job.run_id: asdict(job) for job in group}, looked_at=self._queue.listings)
            for name, group in zip(names, groups, strict=True)
        ]
        for pack in packs:
            pack.write()
        for pack, job_id in zip(packs, self._submit(batch, packs), strict=True):
            pack.job_id, pack.left = job_id, set(pack.jobs)
            pack.write()
        self._packs += packs

    def poll(self) -> Iterable[Event]:
        if not self._config.wait:
            return self._leave_in_queue()
        time.sleep(POLL_SECONDS)
        waited_for = {pack.name: pack for pack in [*self._packs, *(pack for _, pack in self._later)]}
        self._queue.list_again({pack.name: pack.job_id for pack in waited_for.values()})
        for pack in waited_for.values():
            pack.look(self._queue.find(pack.name), self._queue.listings)
        events = [event for pack in self._packs for event in (*pack.new_events(), *self._ends(pack))]
        for pack in self._packs:
            if pack.is_over:
                pack.forget()
        self._packs = [pack for pack in self._packs if pack.left]
        return [*events, *self._follow()]

    def stop(self) -> None:
        if self._stopped_at is None:
            self._stopped_at = time.monotonic()
            job_ids = [pack.job_id or self._queue.find(pack.name).job_id for pack in self._packs]
            if self._packs:
                self._queue.cancel([job_id for job_id in job_ids if job_id])

    def _find_earlier(self) -> dict[str, QueuedPack]:
        """{run_id: the pack of an earlier launch that may still run it}. Raises UserError while the queue gives no
        answer: nothing may be queued beside what may run."""
        packs = [QueuedPack.read(path) for path in self._folder.glob(f"{NAME}-*.json")]
        if not packs:
            return {}
        self._queue.list_again({pack.name: pack.job_id for pack in packs})
        if self._queue.error:
            fix = "start the launch again once squeue answers; until then it cannot be seen what runs already"
            raise UserError("launcher=submitit", f"squeue fails: {self._queue.error}", fix)
        found: dict[str, QueuedPack] = {}
        for pack in packs:
            if self._queue.find(pack.name).ended:
                pack.forget()
            else:
                found |= dict.fromkeys(pack.jobs, pack)
        return found

    def _adopt(self, job: Job) -> bool:
        """Whether an earlier launch queued this run. If it did so with the same work, this one waits for its end;
        otherwise the job follows it."""
        pack = self._earlier.pop(job.run_id, None)
        if pack is None:
            return False
        if _work(job) != _work(job_from(pack.jobs[job.run_id])):
            self._later.append((job, pack))
            return True
        pack.left.add(job.run_id)
        if pack not in self._packs:
            self._packs.append(pack)
        return True

    def _submit(self, batch: str, packs: Sequence[QueuedPack]) -> list[str]:
        """Ids in the queue. Raises UserError if it takes none of them."""
        self._executor.update_parameters(name=batch)
        try:
            with self._executor.batch():
                handles = [
                    self._executor.submit(Pack(self._function, [*pack.jobs.values()], pack.messages, self._config.cpus))
                    for pack in packs
                ]
        except (UncompletedJobError, FailedSubmissionError) as error:
            for pack in packs:
                pack.forget()
            fix = (
                "launcher.partition, .account, .minutes, .cpus and .memory_gb must be what the cluster allows (sinfo); "
                "a larger launcher.pack makes fewer Slurm jobs"
            )
            raise UserError("launcher=submitit", str(error).strip().splitlines()[-1], fix) from None
        return [handle.job_id for handle in handles]

    def _leave_in_queue(self) -> list[Event]:
        submitted = [Event(run_id, "submitted", "in the queue") for pack in self._packs for run_id in pack.left]
        submitted += [Event(job.run_id, "submitted", "follows what is in the queue") for job, _ in self._later]
        self._packs, self._later = [], []
        return submitted

    def _follow(self) -> list[Event]:
        """Queues the jobs that waited for a pack that is over now."""
        if self._stopped_at is not None:
            cancelled = [Event(job.run_id, "cancelled", "the launch was stopped") for job, _ in self._later]
            self._later = []
            return cancelled
        ready = [job for job, pack in self._later if pack.is_over]
        self._later = [(job, pack) for job, pack in self._later if not pack.is_over]
        self.submit(ready)
        return []

    def _ends(self, pack: QueuedPack) -> Iterator[Event]:
        """Ends of the jobs of a pack that left the queue without giving one, or that has to be left behind."""
        waited = 0.0 if self._stopped_at is None else time.monotonic() - self._stopped_at
        overdue = waited > self._config.grace + KILL_SECONDS
        if not pack.left or not (pack.is_over or overdue):
            return
        job = f"its job {pack.listed.job_id or pack.job_id}"
        if overdue and not pack.is_over:
            kind = "cancelled"
            reason = f"{job} is still in the queue {waited:.0f} s after scancel; a later launch waits for it"
        elif waited or pack.listed.state == "CANCELLED":
            kind, reason = "cancelled", f"{job} was taken from the queue by scancel; the next launch queues it again"
        else:
            kind, reason = "killed", f"{job} ended before it: {pack.listed.state}"
        for run_id in sorted(pack.left):
            yield Event(run_id, kind, reason, time.monotonic() - pack.since, pack.printed())
        pack.left.clear()


def _work(job: Job) -> tuple[Any, ...]:
    return job.run, job.until, job.budgets


def _executor(config: SubmititConfig, folder: Path) -> submitit.AutoExecutor:
    """Raises UserError where there is no Slurm."""
    try:
        executor = submitit.AutoExecutor(folder, cluster=config.executor)
    except RuntimeError as error:
        fix = "run this where sbatch and srun are on PATH; launcher.executor=local tries it out without Slurm"
        raise UserError("launcher=submitit", str(error), fix) from None
    executor.update_parameters(
        name=NAME,
        timeout_min=config.minutes,
        cpus_per_task=config.cpus,
        gpus_per_node=config.gpus,
        mem_gb=config.memory_gb,
        slurm_partition=config.partition,
        slurm_account=config.account,
        slurm_array_parallelism=config.jobs,
        slurm_setup=list(config.setup),
        slurm_signal_delay_s=int(config.grace),
        slurm_additional_parameters={"requeue": True},  # whatever the cluster's default
    )
    return executor
