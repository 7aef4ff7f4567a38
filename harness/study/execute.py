"""What the scripts do with jobs: print the plan, launch, show progress, print and report the results."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from harness.config.identity import code_version
from harness.config.schema import Config, WandbTracker
from harness.core.errors import UserError, headline
from harness.core.files import is_unchanged, read_json, sha256, write_hashed_json
from harness.launch.jobs import Job, JobResult, Progress
from harness.launch.launch import launch, max_parallel_jobs
from harness.run.folder import folder_of
from harness.run.job import run_job
from harness.run.torchrun import is_main_process, launch_on_all_ranks, started_by_torchrun
from harness.study.expand import ExpandedStudy, is_done, pending_jobs
from harness.study.measure_check import may_be_refused, refuse_out_of_reach, require_measurable
from harness.study.plan import plan_notes, plan_table
from harness.study.progress import ProgressView, job_name
from harness.study.reach import Reach, reach_of, reach_tables
from harness.study.requirements import require_fast_precision, require_memory, require_writable
from harness.study.tables import ended_step, report_context, runs_left_out, write_tables

LAST_LINES = 20
ANALYSED = ("verdicts.json", "transfer.json", "allocation.json", "report.html")


def run_jobs(jobs: Sequence[Job], config: Config, console: Console) -> list[JobResult] | None:
    """Plans and runs what is missing of `jobs`; None if only the plan was asked for."""
    missing = pending_jobs(jobs)
    print_plan(jobs, missing, config, console, {})
    return None if config.plan else run_missing(missing, config, console)


def print_plan(
    jobs: Sequence[Job], missing: Sequence[Job], config: Config, console: Console, notes: Mapping[str, str]
) -> None:
    """What a launch takes; only that nothing is to be done, where the plan was not asked for. notes: more rows. Raises
    UserError where this machine cannot run what is missing."""
    if missing:
        require_writable(config.out)
        require_memory(missing)
        require_fast_precision(missing)
    if missing or config.plan:
        console.print(plan_table(jobs, missing, max_parallel_jobs(config.launcher, max(1, len(missing))), notes))
    else:
        reused = f": {notes['reused']}" if "reused" in notes else ""
        console.print(f"all {len(jobs)} jobs are done already{reused}", highlight=False)


def run_missing(
    missing: Sequence[Job], config: Config, console: Console, on_result: Callable[[JobResult], object] = bool
) -> list[JobResult]:
    """Runs jobs, with a progress view; on_result: called with each result as it comes."""
    results = []
    with ProgressView(missing, console) as view:
        for result in _launch(missing, config, view.update):
            results.append(result)
            view.finish(result)
            on_result(result)
    return results


def _launch(jobs: Sequence[Job], config: Config, on_progress: Progress) -> Iterator[JobResult]:
    if started_by_torchrun():
        return launch_on_all_ranks(jobs, on_progress)
    return launch(jobs, config.launcher, run_job, on_progress)


def print_failures(results: Sequence[JobResult], console: Console) -> None:
    """The whole error of each job that failed, the end of what it printed, and where its folder lies."""
    for r in _failed(results):
        console.rule(f"{job_name(r.job)}: {r.status}")
        error, printed = (r.error or "").strip(), r.output.strip().splitlines()[-LAST_LINES:]
        console.print(error, markup=False, highlight=False)
        if any(line.strip() not in error for line in printed):
            console.print("the end of what it printed:", *printed, sep="\n", markup=False, highlight=False)
        console.print(f"folder: {folder_of(r.job).path}", highlight=False)


def _failed(results: Sequence[JobResult]) -> list[JobResult]:
    """Those neither done nor in a queue."""
    waiting = queued_run_ids(results)
    return [r for r in results if r.status != "done" and r.job.run_id not in waiting]


def queued_run_ids(results: Sequence[JobResult]) -> set[str]:
    """run_ids of the jobs that a cluster's queue holds, and of those skipped only because they need one of them."""
    status = {r.job.run_id: r.status for r in results}
    found = {run_id for run_id, each in status.items() if each == "submitted"}
    for r in results:  # a job is skipped after what it needs
        waits = [need for need in r.job.needs if status.get(need, "done") != "done"]
        if r.status == "skipped" and waits and found.issuperset(waits):
            found.add(r.job.run_id)
    return found


def print_queued(results: Sequence[JobResult], console: Console) -> bool:
    """Prints what waits in a cluster's queue, and how to collect it; False if nothing does."""
    waiting = queued_run_ids(results)
    if not waiting:
        return False
    submitted = sum(r.status == "submitted" for r in results)
    console.print(
        f"{submitted} jobs are in the queue, {len(waiting) - submitted} more need one of them first.\n"
        "The same command later queues what has become ready; with launcher.wait=true it waits for all and collects "
        "them. What is queued or done is not queued twice.",
        highlight=False,
    )
    return True


def require_done(results: Sequence[JobResult]) -> None:
    """Raises UserError, last of all, if a job is neither done nor in a queue: what the others found has been written
    and shown."""
    if bad := _failed(results):
        fix = "their errors are above; fix them and run the same command again: what is done is not done again"
        raise UserError(f"{len(bad)} of {len(results)} jobs did not finish", fix=fix)


def run_study(study: ExpandedStudy, overrides: Sequence[str], console: Console) -> None:
    """Runs what is missing of the study, prints what failed, and reports. Raises UserError before any RL where
    the tables could not be written, or the registered primary measure cannot be computed or is out of reach."""
    runs_left_out(study)
    require_measurable(study)
    config, missing = study.entries[0].config, study.pending()
    print_plan(study.jobs, missing, config, console, plan_notes(study))
    if config.plan:
        show_reach(study, console)
        return
    results = run_with_reach(study, missing, console)
    if is_main_process():
        print_failures(results, console)
        if not print_queued(results, console):
            report_study(study, overrides, console)
        require_done(results)


def run_with_reach(study: ExpandedStudy, missing: Sequence[Job], console: Console) -> list[JobResult]:
    """Runs `missing` and prints, once the bases are there, what RL can reach. Where that may refuse the study, all
    bases come first; elsewhere RL starts as soon as its base is done. Raises UserError for a study refused."""
    config, needed = study.entries[0].config, {need for job in missing for need in job.needs}
    bases = [job for job in missing if job.run_id in needed]
    if bases and not may_be_refused(study.config):
        waiting = {job.run_id for job in bases}

        def show_once_bases_are_done(result: JobResult) -> None:
            if result.job.run_id in waiting:
                waiting.remove(result.job.run_id)
                if not waiting:
                    _show_reach_if_known(study, console)

        return run_missing(missing, config, console, show_once_bases_are_done)
    results = run_missing(bases, config, console)
    if missing:
        refuse_out_of_reach(study.config, show_reach(study, console))
    return [*results, *_run_ready(study.pending(), results, config, console)]


def _run_ready(jobs: Sequence[Job], bases: Sequence[JobResult], config: Config, console: Console) -> list[JobResult]:
    """Runs the jobs whose bases are done, and skips the others: a base that failed is not tried twice."""
    not_done = {result.job.run_id for result in bases if result.status != "done"}
    waiting = [job for job in jobs if not_done.intersection(job.needs)]
    ready = [job for job in jobs if job.run_id not in not_done and job not in waiting]
    skipped = [JobResult(job, "skipped", error=f"{job.needs[0]}, its base, is not done") for job in waiting]
    return [*skipped, *run_missing(ready, config, console)]


def _show_reach_if_known(study: ExpandedStudy, console: Console) -> None:
    """Beside RL that runs: an error, of a damaged base for one, ends no run; the run that needs the base meets it."""
    try:
        show_reach(study, console)
    except Exception as error:
        console.print(f"[yellow]reach is not known:[/] {escape(headline(str(error)))}", highlight=False)


def show_reach(study: ExpandedStudy, console: Console) -> list[Reach]:
    """Prints what the study's bases can reach, and returns it."""
    reaches = reach_of(study.entries, study.cached)
    for shown in reach_tables(reaches):
        console.print(shown, highlight=False)
    return reaches


def report_study(study: ExpandedStudy, overrides: Sequence[str], console: Console) -> None:
    """Tables, verdicts and report of what a study has measured so far, and their summary on the console; all of it in
    W&B too, if that is the tracker. The analysis of a table that has not changed is not made again."""
    from harness.analysis.report.terminal import terminal_summary
    from harness.analysis.verdict.primary import typed_primary

    others, notice = runs_left_out(study), notice_of(study)
    folder = write_tables(study)
    if not _is_analysed(folder, study):
        _analyse(folder, study, overrides, notice)
    verdicts, transfer, primary = (read_json(folder / f"{name}.json") for name in ("verdicts", "transfer", "primary"))
    console.print(terminal_summary(verdicts, transfer, typed_primary(primary) if primary else None))
    if notice:
        console.print(f"[bold yellow]{notice}[/]", highlight=False)
    if others:
        console.print(f"The tables held {len(others)} other runs before; study.name=… keeps both.", highlight=False)
    console.print(f"run table: {folder}/table.parquet\nreport: {folder}/report.html", highlight=False)


def notice_of(study: ExpandedStudy) -> str:
    """What a reader of the report must know first, of runs that are missing or were ended; "" if there is nothing."""
    parts, runs, missing = [], len({entry.run_id for entry in study.entries}), missing_runs(study)
    if missing:
        parts.append(f"{missing} of {runs} runs are not done: this covers what was measured so far.")
    if ends := {e.run_id: end for e in study.entries if (end := ended_step(study, e)) is not None}:
        count = f"{len(ends)} of {runs} runs, the first at step {min(ends.values())}"
        parts.append(
            f"rl.stop_at ended {count}: they are missing beyond, and each arm is analysed up to its first end."
        )
    return " ".join(parts)


def missing_runs(study: ExpandedStudy) -> int:
    """How many of the study's runs are not done."""
    return sum(not (job.is_base or is_done(job, study.cached)) for job in study.jobs)


def _fingerprint(folder: Path, study: ExpandedStudy) -> str:
    """Of the tables, the study, the code that reads them, and where the results go."""
    parts = [(folder / f"{name}.parquet").read_bytes() for name in ("table", "problems")]
    about = (code_version(), study.config, study.entries[0].config.tracker, notice_of(study))
    parts += [repr(each).encode() for each in about]
    return hashlib.blake2b(b"".join(parts)).hexdigest()


def _is_analysed(folder: Path, study: ExpandedStudy) -> bool:
    """Whether the analysis in the folder was made whole from these tables by this code and is so still."""
    record = read_json(folder / "analysis.json")
    if not isinstance(record, dict) or record["made_from"] != _fingerprint(folder, study):
        return False  # one of an older version is a fingerprint alone
    intact = [is_unchanged(folder / name, expected) for name, expected in record["files"].items()]  # damage of each
    return all(intact)


def _analyse(folder: Path, study: ExpandedStudy, overrides: Sequence[str], notice: str) -> None:
    from harness.analysis.data.options import default_options
    from harness.analysis.data.registered import study_options
    from harness.analysis.report.analyze import write_analysis
    from harness.tracking.publish import publish_study

    for name in ("analysis.json", "primary.json"):
        (folder / name).unlink(missing_ok=True)
    options = default_options(**study_options(folder))
    reach = [one.record() for one in reach_of(study.entries, study.cached) if one.cells]
    context = report_context(study, overrides) | {"notice": notice, "reach": reach}
    found = write_analysis(folder, folder, options, context=context, unfinished=missing_runs(study) > 0)
    tracker = study.entries[0].config.tracker
    if isinstance(tracker, WandbTracker):
        publish_study(tracker, folder, study.config.name, found["verdicts"], found["transfer"])
    written = [*ANALYSED, *(["primary.json"] if found["primary"] else [])]
    hashes = {name: sha256((folder / name).read_bytes()) for name in written}
    write_hashed_json(folder / "analysis.json", {"made_from": _fingerprint(folder, study), "files": hashes})
