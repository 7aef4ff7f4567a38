"""The state of a study's runs, and what may be deleted of them."""

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table as RichTable

from harness.core.errors import headline
from harness.launch.jobs import Job
from harness.launch.launch import max_parallel_jobs
from harness.run.checkpoint import saved_steps, step_folder
from harness.run.folder import folder_of
from harness.run.lock import is_locked, run_state
from harness.run.remaining import reached_step
from harness.study.cached_results import EMPTY, CachedResults
from harness.study.expand import ExpandedStudy, is_done
from harness.study.plan import cost, measured_rates
from harness.study.progress import job_name


def job_state(job: Job, cached: CachedResults = EMPTY) -> tuple[str, int, str]:
    """(state as `run_state`, step reached, what went wrong in a line). A run that was done with less is stopped."""
    folder = folder_of(job)
    if is_done(job, cached):
        return "done", folder.within_end(job.until), ""
    state, step = run_state(folder), min(job.until, reached_step(folder))
    if state == "failed":
        return state, step, headline(folder.status().get("error", ""))
    return ("stopped" if state == "done" or (step and state == "to do") else state), step, ""


def study_states(study: ExpandedStudy) -> tuple[str, list[tuple[Job, str, int, str]]]:
    """The counts of states in a line, and of each job what `job_state` returns. A base that no run needs is "not
    needed": what is listed as to do is what a launch does."""
    pending = {job.run_id for job in study.pending()}
    states = []
    for job in study.jobs:
        state, step, error = job_state(job, study.cached)
        states.append((job, state if state == "done" or job.run_id in pending else "not needed", step, error))
    counts = Counter(state for _, state, _, _ in states)
    return ", ".join(f"{n} {state}" for state, n in counts.items()), states


def status_table(study: ExpandedStudy) -> RichTable:
    """One line a job, and in the title the counts and the time left at the speed measured now."""
    title, states = study_states(study)
    if left := [job for job, state, *_ in states if state not in ("done", "not needed")]:
        config = study.entries[0].config
        rates = measured_rates(config)
        seconds = sum(cost(job, rates).seconds for job in left) / max_parallel_jobs(config.launcher, len(left))
        title += f"; about {seconds / 60:.1f} min left"
    table = RichTable(title=title, title_justify="left")
    for column in ("run", "state", "step", "folder", "error"):
        table.add_column(column, overflow="fold")
    for job, state, step, error in states:
        table.add_row(job_name(job), state, f"{step}/{job.until}", job.run_id, escape(error))
    return table


def prune(jobs: Sequence[Job]) -> tuple[int, int]:
    """Deletes, of runs that are done, checkpoints but the newest (from which a longer run goes on) and weights at steps
    that no budget of `jobs` needs. Returns (folders deleted, bytes freed)."""
    doomed: list[Path] = []
    for job in jobs:
        folder = folder_of(job)
        if not is_done(job) or is_locked(folder) or folder.status().get("state") != "done":
            continue
        doomed += [step_folder(folder.checkpoints, step) for step in saved_steps(folder.checkpoints)[:-1]]
        needed = {*job.budgets, folder.within_end(job.until)}
        doomed += [step_folder(folder.budgets, step) for step in saved_steps(folder.budgets) if step not in needed]
    freed = sum(path.stat().st_size for each in doomed for path in each.rglob("*"))
    for each in doomed:
        shutil.rmtree(each)
    return len(doomed), freed
