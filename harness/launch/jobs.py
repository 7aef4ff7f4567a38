"""Jobs, the order they may run in, and the one function that runs them: `launch`.

A backend is a `Pool` (local.py, ray.py, submitit.py). It runs what it is given and tells what happened; order, retries
and skipped jobs are decided here, once, for all of them.
"""

import graphlib
import importlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from harness.config.schema import Launcher, LocalConfig, StackedConfig
from harness.core.errors import UserError, nearest
from harness.core.signals import deferred

Status = Literal["done", "failed", "killed", "skipped", "cancelled", "submitted"]


@dataclass(frozen=True)
class Job:
    """One run to bring to step `until`. `run` and `labels` are plain JSON, so that any backend can carry them.

    `budgets`: the steps at which the run is evaluated. `needs`: run_ids that must be done first (its base, its trunk).
    `labels`: study, arm, tags; they name the run and never change it. `threads`: how many of the places that a pool
    gives to jobs this one may fill; where it says more than one, no other job needed them.
    """

    run_id: str
    run: Mapping[str, Any]
    until: int
    budgets: tuple[int, ...] = ()
    needs: tuple[str, ...] = ()
    labels: Mapping[str, Any] = field(default_factory=dict)
    threads: int = 1


@dataclass(frozen=True)
class JobResult:
    """What became of a job. `error`: the whole traceback, or the reason. `value`: what the work returned (JSON).

    failed: the work raised. killed: its process died `attempts` times. skipped: a job that it needs is not done.
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
    """A backend's news of a job. `progress` carries a row, `done` a value; the others an error text."""

    run_id: str
    kind: Literal["progress", "done", "failed", "killed", "cancelled", "submitted"]
    data: Any = None
    seconds: float = 0.0
    output: str = ""


class Pool(Protocol):
    """A backend while it is open. Every submitted job ends in exactly one event that is not progress."""

    def free(self) -> int:
        """How many jobs it takes now."""
        ...

    def submit(self, jobs: Sequence[Job]) -> None: ...

    def poll(self) -> Iterable[Event]:
        """News since the last call; waits up to half a second for some."""
        ...

    def stop(self) -> None:
        """Ask every running job to save and end; the pool ends them by force after its grace time."""
        ...


# name -> module, its Pool, the extra of pyproject.toml that it needs
_BACKENDS = {
    "local": ("harness.launch.local", "LocalPool", "dev"),
    "stacked": ("harness.launch.stacked", "StackedPool", "dev"),
    "ray": ("harness.launch.ray", "RayPool", "ray"),
    "submitit": ("harness.launch.submitit", "SubmititPool", "slurm"),
}
Progress = Callable[[Job, dict[str, Any]], None]


def launch(
    jobs: Sequence[Job],
    launcher: Launcher,
    work: str = "harness.run.run:run_job",
    on_progress: Progress | None = None,
) -> Iterator[JobResult]:
    """Runs `jobs` and yields each one's result as it ends; needs come first.

    `work` is "module:function", called as function(job, report) where jobs run; it returns JSON, and each dict that it
    hands to report arrives at `on_progress(job, row)` here. The order is checked at the call, before anything starts.
    On Ctrl-C or SIGTERM running jobs save, all unfinished ones are yielded as cancelled, and `Stopped` is raised.
    Raises UserError for needs that are unknown or circular and for run_ids given twice.
    """
    schedule = Schedule(jobs)
    return _launch(schedule, launcher, work, on_progress or (lambda job, row: None))


def _launch(schedule: "Schedule", launcher: Launcher, work: str, on_progress: Progress) -> Iterator[JobResult]:
    if not schedule.jobs:
        return
    with deferred() as stop, open_pool(launcher, work, len(schedule.jobs)) as pool:
        while schedule.unfinished:
            if stop():
                pool.stop()
                yield from schedule.cancel_waiting()
            pool.submit(schedule.take(pool.free()))
            for event in pool.poll():
                if event.kind == "progress":
                    on_progress(schedule.jobs[event.run_id], event.data)
                else:
                    yield from schedule.settle(event, retries=0 if stop() else launcher.retries)
        if stopped := stop():
            raise stopped


def open_pool(launcher: Launcher, work: str, n_jobs: int) -> AbstractContextManager[Pool]:
    """The backend that `launcher` names; each is imported only when it is used. Raises UserError if it is missing."""
    module, pool, extra = _BACKENDS[launcher.name]
    try:
        backend = importlib.import_module(module)
    except ModuleNotFoundError as error:
        fix = f"pip install -e '.[{extra}]'"
        raise UserError(f"launcher={launcher.name}", f"the package {error.name} is not installed", fix) from None
    return getattr(backend, pool)(launcher, work, n_jobs)


def places(launcher: Launcher, n_jobs: int) -> int:
    """How many of `n_jobs` jobs are taken to run at once, for estimates: a cluster is not asked."""
    if isinstance(launcher, LocalConfig):
        return importlib.import_module("harness.launch.local").concurrency(launcher, n_jobs)[0]
    at_once = launcher.jobs * launcher.seeds if isinstance(launcher, StackedConfig) else launcher.jobs
    return min(n_jobs, at_once or n_jobs)


class Schedule:
    """Which job may run next, and what follows from each end. Bookkeeping only; constant work per job and need."""

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

    def take(self, most: int) -> list[Job]:
        """Up to `most` jobs whose needs are done, in the order given; each counts as an attempt."""
        taken = [self._ready.popleft() for _ in range(min(most, len(self._ready)))]
        for run_id in taken:
            self._attempts[run_id] += 1
        return [self.jobs[run_id] for run_id in taken]

    def settle(self, event: Event, retries: int) -> list[JobResult]:
        """What follows from a job's end: its own, and skipped for all that need it. Empty if it is retried."""
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
        """Results for all jobs that wait for a place or a need; none of them will be taken."""
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


def _check(jobs: Sequence[Job], known: Mapping[str, Job]) -> None:
    if len(known) < len(jobs):
        twice = [run_id for run_id, times in Counter(job.run_id for job in jobs).items() if times > 1]
        raise UserError(f"jobs {', '.join(twice)}", "given twice", "two jobs must not write to one run folder")
    for job in jobs:
        for need in job.needs:
            if need not in known:
                near = nearest(need, known)
                fix = f"did you mean {', '.join(near)}?" if near else "add that job, or drop the need"
                raise UserError(f"job {job.run_id} needs {need}", "there is no such job", fix)
