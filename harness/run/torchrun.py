"""Jobs for the processes that torchrun started: one after the other, all ranks on each.

Rank 0 works in the run's folder, as any worker does. The others run the same job in a folder of their own, which
begins as a copy of what rank 0 resumes from and is thrown away: so all load the same weights, and no code but the step
and the signal to stop depends on ranks. Rank 0 alone makes bases, runs that are
pretrained and frozen ones. All nodes must see the storage.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from harness.launch.jobs import Event, Job, JobResult, Progress, Schedule


def started_by_torchrun() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_main_process() -> bool:
    """Whether this process prints and writes files."""
    return os.environ.get("RANK", "0") == "0"


def launch_on_all_ranks(jobs: Sequence[Job], on_progress: Progress) -> Iterator[JobResult]:
    """As `launch`, on all ranks of torchrun; but what a job raises is raised here, and torchrun then ends the others,
    which could only wait."""
    from harness.train.distributed import all_gather, process_group

    with process_group():
        schedule = Schedule(all_gather(list(jobs))[0])
        while schedule.unfinished:
            (job,) = schedule.start_ready(1)
            _run(job, on_progress)
            all_gather(None)  # a base is there before any rank goes on
            yield from schedule.record_end(Event(job.run_id, "done"), retries=0)


def _run(job: Job, on_progress: Progress) -> None:
    from harness.config.identity import base_id
    from harness.run.job import run_job
    from harness.train.distributed import all_gather

    config = job.config
    alone = job.is_base or config.objective in ("pretraining", "frozen")
    if is_main_process():
        if not alone:
            all_gather(None)  # the others have copied
        run_job(job, lambda row: on_progress(job, row))
    elif not alone:
        with tempfile.TemporaryDirectory() as folder:
            _copy(Path(config.out), Path(folder), (job.run_id, base_id(config)))
            all_gather(None)
            run_job(replace(job, run={**job.run, "out": folder, "tracker": {"name": "none"}}), lambda row: None)


def _copy(out: Path, folder: Path, run_ids: Sequence[str]) -> None:
    """What a run is resumed from, and what it need not measure again."""
    for run_id in run_ids:
        (folder / "runs" / run_id).mkdir(parents=True, exist_ok=True)
        for part in ("checkpoints", "budgets", "evaluations", "replay"):
            if (source := out / "runs" / run_id / part).is_dir():
                shutil.copytree(source, folder / "runs" / run_id / part, ignore=shutil.ignore_patterns(".*"))
        for name in ("status.json", "ended.json", "metrics.jsonl"):  # so that all ranks see the same work remain
            if (source := out / "runs" / run_id / name).is_file():
                shutil.copy(source, folder / "runs" / run_id / name)
