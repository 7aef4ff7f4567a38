"""Looking after a study's runs: what stands where, and what may be deleted."""

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table as RichTable

from harness.config.parse import parse
from harness.core.errors import headline
from harness.launch.jobs import Job, places
from harness.run.checkpoint import saved_steps, step_folder
from harness.run.folder import RunFolder, is_held, run_folder
from harness.study.cached_results import NOTHING, Known
from harness.study.plan import cost, measured_rates, reached
from harness.study.progress import name_of
from harness.study.study import is_done


def state_of(job: Job, known: Known = NOTHING) -> tuple[str, int, str]:
    """(done, running, failed, stopped or to do; step reached; what went wrong, in a line). A run that says it is
    running though no process holds it was killed, and counts as stopped."""
    folder = run_folder(job.run["out"], job.run_id)
    status = folder.status()
    step = reached(job)
    if is_done(job, known):
        return "done", job.until, ""
    if is_held(folder):
        return "running", step, ""
    if status.get("state") == "failed":
        return "failed", step, _error(folder)
    return ("stopped" if status or step else "to do"), step, ""


def _error(folder: RunFolder) -> str:
    path = folder.path / "traceback.txt"
    return headline(path.read_text()) if path.is_file() else str(folder.status().get("error", ""))


def status_table(jobs: Sequence[Job], known: Known = NOTHING) -> RichTable:
    """One line a job, and in the title the counts and the time left at the speed measured now."""
    states = [(job, *state_of(job, known)) for job in jobs]
    counts = Counter(state for _, state, _, _ in states)
    title = ", ".join(f"{n} {state}" for state, n in counts.items())
    if left := [job for job, state, _, _ in states if state != "done"]:
        config = parse(jobs[0].run)
        rates = measured_rates(config)
        seconds = sum(cost(job, rates).seconds for job in left) / places(config.launcher, len(left))
        title += f"; about {seconds / 60:.1f} min left"
    table = RichTable(title=title, title_justify="left")
    for column in ("run", "state", "step", "folder", "error"):
        table.add_column(column, overflow="fold")
    for job, state, step, error in states:
        table.add_row(name_of(job), state, f"{step}/{job.until}", job.run_id, escape(error))
    return table


def prune(jobs: Sequence[Job]) -> tuple[int, int]:
    """Deletes, of runs that are done, checkpoints but the newest (from which a longer run goes on) and weights at steps
    that no budget of `jobs` needs. Returns (folders deleted, bytes freed)."""
    doomed: list[Path] = []
    for job in jobs:
        folder = run_folder(job.run["out"], job.run_id)
        if not is_done(job) or is_held(folder):
            continue
        doomed += [step_folder(folder.checkpoints, step) for step in saved_steps(folder.checkpoints)[:-1]]
        needed = {*job.budgets, job.until}
        doomed += [step_folder(folder.budgets, step) for step in saved_steps(folder.budgets) if step not in needed]
    freed = sum(path.stat().st_size for each in doomed for path in each.rglob("*"))
    for each in doomed:
        shutil.rmtree(each)
    return len(doomed), freed
