"""Jobs for the processes that torchrun started: one after the other, all ranks on each.

Rank 0 works in the run's folder, as any worker does. The others run the same job in a folder of their own, which
begins as a copy of what rank 0 resumes from and is thrown away: so all load the same weights, and no code but the step
and the word to stop knows of ranks. A base and the frozen arm are rank 0's alone. Storage must be seen by all nodes.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from harness.launch.jobs import Event, Job, JobResult, Progress, Schedule


def by_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_first() -> bool:
    """Whether this process is the one that speaks and writes."""
    return os.environ.get("RANK", "0") == "0"


def launch_together(jobs: Sequence[Job], on_progress: Progress) -> Iterator[JobResult]:
    """As `launch`, on all ranks of torchrun; but what a job raises is raised here, and torchrun then ends the others,
    which could only wait."""
    from harness.train.distributed import connected, gathered

    with connected():
        schedule = Schedule(gathered(list(jobs))[0])
        while schedule.unfinished:
            (job,) = schedule.take(1)
            _run(job, on_progress)
            gathered(None)  # a base is there before any rank goes on
            yield from schedule.settle(Event(job.run_id, "done"), retries=0)


def _run(job: Job, on_progress: Progress) -> None:
    from harness.config.identity import base_id
    from harness.config.parse import parse
    from harness.run.run import run_job
    from harness.train.distributed import gathered

    config = parse(job.run)
    alone = job.run_id == base_id(config) or config.objective == "frozen"
    if is_first():
        if not alone:
            gathered(None)  # the others have copied
        run_job(job, lambda row: on_progress(job, row))
    elif not alone:
        with tempfile.TemporaryDirectory() as folder:
            _copy(Path(config.out), Path(folder), (job.run_id, base_id(config)))
            gathered(None)
            run_job(replace(job, run={**job.run, "out": folder, "tracker": {"name": "none"}}), lambda row: None)


def _copy(out: Path, folder: Path, run_ids: Sequence[str]) -> None:
    """What a run is resumed from, and what it need not measure again."""
    for run_id in run_ids:
        for part in ("checkpoints", "budgets", "evaluations"):
            if (source := out / "runs" / run_id / part).is_dir():
                shutil.copytree(source, folder / "runs" / run_id / part, ignore=shutil.ignore_patterns(".*"))
