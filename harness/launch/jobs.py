"""Jobs, their results, and the order in which they may run.

Each launcher has a `Pool` (local.py, stacked.py, ray.py, submitit.py), which runs what it is given and reports events.
Order, retries and skipped jobs are decided by `Schedule`, once, for all of them.
"""

import graphlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol

from harness.config.parse import parse
from harness.config.schema import Config
from harness.core.errors import UserError, nearest

Status = Literal["done", "failed", "killed", "skipped", "cancelled", "submitted"]


@dataclass(frozen=True)
class Job:
    """One run to bring to step `until`. `run` and `labels` are plain JSON, so that any pool can carry them.

    `budgets`: the steps at which the run is evaluated. `needs`: run_ids that must be done first (its base).
    `labels`: study, arm; they name the run and never change it. `threads`: how many of the pool's slots this job
    may fill; where it is more than one, no other job needed them.
    """

    run_id: str
    run: Mapping[str, Any]
    until: int
    budgets: tuple[int, ...] = ()
    needs: tuple[str, ...] = ()
    labels: Mapping[str, Any] = field(default_factory=dict)
    threads: int = 1

    @property
    def is_base(self) -> bool:
        """Whether it pretrains: nothing is evaluated."""
        return not self.budgets

    @cached_property
    def config(self) -> Config:
        return parse(self.run)


@dataclass(frozen=True)
class JobResult:
    """How a job ended. `error`: the whole traceback, or the reason. `value`: what `run_job` returned (JSON).

    failed: `run_job` raised. killed: its process died `attempts` times. skipped: a job that it needs is not done.
    cancelled: the launch was stopped. submitted: it waits in a cluster's queue. `seconds`: wall clock of the last
    attempt. `output`: the end of what it printed.
    """

    job: Job
    status: Status
    seconds: float = 0.0
    attempts: int = 0
    error: str | None = None
    value: Any = None
    output: str = ""


@dataclass(frozen=True)
class Event:
    """What a pool reports of a job. `progress` carries a row, `done` a value; the others an error text."""

    run_id: str
    kind: Literal["progress", "done", "failed", "killed", "cancelled", "submitted"]
    data: Any = None
    seconds: float = 0.0
    output: str = ""


class Pool(Protocol):
    """Runs jobs for a launcher while it is open. Every submitted job ends in exactly one event that is not progress."""

    def free(self) -> int:
        """How many more jobs it accepts now."""
        ...

    def submit(self, jobs: Sequence[Job]) -> None: ...

    def poll(self) -> Iterable[Event]:
        """Events since the last call; waits up to half a second for one."""
        ...

    def stop(self) -> None:
        """Ask every running job to save and end; the pool ends them by force after its grace time."""
        ...


Progress = Callable[[Job, dict[str, Any]], None]


class Schedule:
    """Which job may run next, and what follows when one ends. Bookkeeping only; constant work per job and need."""

    def __init__(self, jobs: Sequence[Job]):
        self.jobs = {job.run_id: job for job in jobs}
        _check(jobs, self.jobs)
        self.unfinished = set(self.jobs)
        self._attempts = dict.fromkeys(self.jobs, 0)
        self._followers: dict[str, list[str]] = {run_id: [] for run_id in self.jobs}
        for job in jobs:
            for need in job.needs:
                self._followers[need].append(job.run_id)
        self._order = graphlib.TopologicalSorter({job.run_id: job.needs for job in jobs})
        try:
            self._order.prepare()
        except graphlib.CycleError as error:
            raise UserError("the jobs need each other in a circle", " needs ".join(reversed(error.args[1]))) from None
        self._ready = deque(self._order.get_ready())

    def start_ready(self, most: int) -> list[Job]:
        """Up to `most` jobs whose needs are done, in the order given; each counts as an attempt."""
        started = [self._ready.popleft() for _ in range(min(most, len(self._ready)))]
        for run_id in started:
            self._attempts[run_id] += 1
        return [self.jobs[run_id] for run_id in started]

    def record_end(self, event: Event, retries: int) -> list[JobResult]:
        """Results of a job's end: its own, and skipped for all that need it. Empty if it is retried."""
        run_id, attempts = event.run_id, self._attempts[event.run_id]
        if event.kind == "killed" and attempts <= retries:
            self._ready.append(run_id)
            return []
        status: Any = event.kind
        done = status == "done"
        error, value = (None, event.data) if done else (event.data, None)
        result = JobResult(self.jobs[run_id], status, event.seconds, attempts, error, value, event.output)
        self.unfinished.discard(run_id)
        if not done:
            return [result, *self._skip_followers(run_id, status)]
        self._order.done(run_id)
        self._ready.extend(self._order.get_ready())
        return [result]

    def cancel_waiting(self) -> list[JobResult]:
        """Results for all jobs that wait for a slot or a need; none of them will start."""
        waiting = {i for i in self.unfinished if self._attempts[i] == 0} | set(self._ready)
        self._ready.clear()
        self.unfinished -= waiting
        return [
            JobResult(job, "cancelled", attempts=self._attempts[run_id], error="the launch was stopped")
            for run_id, job in self.jobs.items()
            if run_id in waiting
        ]

    def _skip_followers(self, run_id: str, status: str) -> list[JobResult]:
        skipped, front = [], [run_id]
        while front:
            for follower in self._followers[front.pop()]:
                if follower in self.unfinished:
                    self.unfinished.discard(follower)
                    reason = f"it needs {run_id}, which was {status}"
                    skipped.append(JobResult(self.jobs[follower], "skipped", error=reason))
                    front.append(follower)
        return skipped


def _check(jobs: Sequence[Job], by_id: Mapping[str, Job]) -> None:
    if len(by_id) < len(jobs):
        repeated = [run_id for run_id, times in Counter(job.run_id for job in jobs).items() if times > 1]
        raise UserError(f"jobs {', '.join(repeated)}", "given twice", "two jobs must not write to one run folder")
    for job in jobs:
        for need in job.needs:
            if need not in by_id:
                near = nearest(need, by_id)
                fix = f"did you mean {', '.join(near)}?" if near else "add that job, or drop the need"
                raise UserError(f"job {job.run_id} needs {need}", "there is no such job", fix)
