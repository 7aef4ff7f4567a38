"""`launch` runs jobs by the launcher that a configuration names. A cluster's is imported when it is used; what jobs run
is never imported here: the caller passes the function, and workers import it by the reference that pickle makes of it.
"""

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from harness.config.schema import Launcher, LocalConfig, StackedConfig
from harness.core.errors import UserError
from harness.core.signals import defer_signals
from harness.launch.jobs import Job, JobResult, Pool, Progress, Schedule
from harness.launch.local import LocalPool, concurrency
from harness.launch.worker import RunJob

OpenPool = Callable[[Any, bytes, int], AbstractContextManager[Pool]]


def launch(
    jobs: Sequence[Job],
    launcher: Launcher,
    run_job: RunJob,
    on_progress: Progress = lambda job, row: None,
) -> Iterator[JobResult]:
    """Runs `jobs` and yields each one's result as it ends; needs come first.

    `run_job(job, report)`, a function of a module, is called where jobs run; it returns JSON, and each dict that it
    hands to `report` arrives at `on_progress(job, row)` here. launcher=stacked calls it with jobs whose `run` holds the
    jobs of a stack, and its rows then name their `member`. The order is checked at the call, before anything starts.
    On Ctrl-C or SIGTERM running jobs save, all unfinished ones are yielded as cancelled, and `Stopped` is raised.
    Raises UserError for needs that are unknown or circular and for run_ids given twice, ValueError for a function that
    workers cannot import.
    """
    return _launch(Schedule(jobs), launcher, function_reference(run_job), on_progress)


def _launch(schedule: Schedule, launcher: Launcher, function: bytes, on_progress: Progress) -> Iterator[JobResult]:
    if not schedule.jobs:
        return
    with defer_signals() as stop, open_pool(launcher, function, len(schedule.jobs)) as pool:
        while schedule.unfinished:
            if stop():
                pool.stop()
                yield from schedule.cancel_waiting()
            pool.submit(schedule.start_ready(pool.free()))
            for event in pool.poll():
                if event.kind == "progress":
                    on_progress(schedule.jobs[event.run_id], event.data)
                else:
                    yield from schedule.record_end(event, retries=0 if stop() else launcher.retries)
        if stopped := stop():
            raise stopped


def function_reference(function: RunJob) -> bytes:
    """The function pickled by reference: its module and name. Raises ValueError where a worker could not import it."""
    try:
        if function.__module__ == "__main__":
            raise ValueError("it is defined in __main__")
        return pickle.dumps(function)
    except (pickle.PicklingError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"workers cannot import {function!r} ({error}); define it at the top of a module") from None


EXTRAS = {"ray": "ray", "submitit": "slurm"}  # of pyproject.toml, by the launcher that needs it


def pool_type(name: str) -> OpenPool:
    """The pool of the launcher of that name; imported here, only when it is used."""
    if name == "local":
        return LocalPool
    if name == "stacked":
        from harness.launch.stacked import StackedPool as pool
    elif name == "ray":
        from harness.launch.ray import RayPool as pool
    else:
        from harness.launch.submitit import SubmititPool as pool
    return pool


def open_pool(launcher: Launcher, function: bytes, n_jobs: int) -> AbstractContextManager[Pool]:
    """The pool that `launcher` names. Raises UserError if its package is missing."""
    try:
        return pool_type(launcher.name)(launcher, function, n_jobs)
    except ModuleNotFoundError as error:
        fix = f"pip install -e '.[{EXTRAS.get(launcher.name, 'dev')}]'"
        raise UserError(f"launcher={launcher.name}", f"the package {error.name} is not installed", fix) from None


def max_parallel_jobs(launcher: Launcher, n_jobs: int) -> int:
    """How many of `n_jobs` jobs are expected to run at once, for estimates: no cluster is queried."""
    if isinstance(launcher, LocalConfig):
        return concurrency(launcher, n_jobs)[0]
    at_once = launcher.jobs * launcher.seeds if isinstance(launcher, StackedConfig) else launcher.jobs
    return min(n_jobs, at_once or n_jobs)
