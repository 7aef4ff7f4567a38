"""What the scripts do with jobs: say what is to come, launch, show, and say what came out."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table as RichTable

from envs.registry import select
from harness.config import Config, evaluation_id, run_id
from harness.errors import UserError
from harness.launch.jobs import Job, JobResult, launch, places
from harness.plan import plan_table
from harness.progress import View, name_of
from harness.runs import read_json, run_folder
from harness.scores import eval_metrics
from harness.study import Study, context_of, to_do, warmup_x, write_tables

LAST_LINES = 20


def run_jobs(jobs: Sequence[Job], config: Config, console: Console) -> list[JobResult] | None:
    """Runs what is missing of `jobs`, with a progress view; None if only the plan was asked for."""
    missing = to_do(jobs)
    if missing or config.plan:
        console.print(plan_table(jobs, missing, places(config.launcher, max(1, len(missing)))))
    else:
        console.print(f"all {len(jobs)} jobs are done already")
    if config.plan:
        return None
    results = []
    with View(missing, console) as view:
        for result in launch(missing, config.launcher, on_progress=view.update):
            results.append(result)
            view.finish(result)
    return results


def say_failures(results: Sequence[JobResult], console: Console) -> None:
    """The whole error of each job that failed, the end of what it printed, and where its folder lies."""
    waiting = queued(results)
    for r in results:
        if r.status != "done" and r.job.run_id not in waiting:
            console.rule(f"{name_of(r.job)}: {r.status}")
            error, printed = (r.error or "").strip(), r.output.strip().splitlines()[-LAST_LINES:]
            console.print(error, markup=False, highlight=False)
            if any(line.strip() not in error for line in printed):
                console.print("the end of what it printed:", *printed, sep="\n", markup=False, highlight=False)
            console.print(f"folder: {run_folder(r.job.run['out'], r.job.run_id).path}", highlight=False)


def queued(results: Sequence[JobResult]) -> set[str]:
    """run_ids of the jobs that a cluster's queue holds, and of those skipped only because they need one of them."""
    status = {r.job.run_id: r.status for r in results}
    found = {run_id for run_id, each in status.items() if each == "submitted"}
    for r in results:  # a job is skipped after what it needs
        waits = [need for need in r.job.needs if status.get(need, "done") != "done"]
        if r.status == "skipped" and waits and found.issuperset(waits):
            found.add(r.job.run_id)
    return found


def say_queued(results: Sequence[JobResult], console: Console) -> bool:
    """Says what waits in a cluster's queue, and how to collect it; False if nothing does."""
    waiting = queued(results)
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
    waiting = queued(results)
    bad = [r for r in results if r.status != "done" and r.job.run_id not in waiting]
    if bad:
        fix = "their errors are above; mend them and run the same command again: what is done is not done again"
        raise UserError(f"{len(bad)} of {len(results)} jobs did not finish", fix=fix)


def report_study(study: Study, overrides: Sequence[str], console: Console) -> None:
    """Tables, verdicts and report of what a study has measured so far, and their summary on the console."""
    from harness.analysis.analyze import analyze
    from harness.analysis.options import default_options
    from harness.analysis.report import summary

    folder = write_tables(study)
    options = default_options(warmup=warmup_x(study, folder))
    found = analyze(folder, folder, options, context=context_of(study, overrides))
    console.print(summary(found["verdicts"], found["transfer"]))
    console.print(f"run table: {folder}/table.parquet\nreport: {found['report']}", highlight=False)


def accuracy_table(config: Config) -> RichTable:
    """Accuracy of one run at its budgets: mean@1 per task over its difficulties, verified tasks first."""
    folder, which = run_folder(config.out, run_id(config)), evaluation_id(config)
    table = RichTable(title=f"held-out accuracy ({config.evaluation.split})", title_justify="left")
    table.add_column("task")
    columns = {}
    for step in config.budget_steps():
        content = read_json(folder.evaluation(which, step))
        if content is not None:
            columns[step] = eval_metrics(content["rows"])
            table.add_column(f"step {step}", justify="right")
    for role in ("verified", "unverified"):
        for task in select(getattr(config.tasks, role)):
            values = (columns[step].get(f"eval/{task.name}/mean@1") for step in columns)
            table.add_row(f"{task.name} ({role})", *("-" if v is None else f"{v:.3f}" for v in values))
    return table
