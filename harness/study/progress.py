"""What the user sees while jobs run: one bar for all of them, one line for each that runs.

On a terminal the lines move; elsewhere (a log file) a plain line is printed now and then.
"""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from harness.analysis.stats.formatting import format_hours
from harness.config.run_names import BASE_ARM
from harness.core.errors import headline
from harness.launch.jobs import Job, JobResult

SECONDS_BETWEEN_PLAIN_LINES = 15.0


def progress_summary(row: Mapping[str, Any]) -> str:
    """The numbers of a row to show: accuracy and share of zero-advantage groups in RL, loss in pretraining."""
    if "train/accuracy" in row:
        accuracy, silent = row["train/accuracy"], row["train/zero_advantage_groups"]
        speed = row["perf/tokens_per_s"] / 1000
        return f"training accuracy {accuracy:.3f}  zero-advantage {silent:.0%}  {speed:.0f}k tokens/s"
    return f"loss {row['train/loss']:.3f}" if "train/loss" in row else ""


def job_name(job: Job) -> str:
    """The job's name for the user: its arm and seed."""
    seed = job.run["base"]["seed"] if job.is_base and job.labels.get("arm") == BASE_ARM else job.run["seed"]
    return f"{job.labels.get('arm', job.run_id)} seed {seed}"


class ProgressView:
    """Shows the progress of `jobs`; a context manager. `update` takes rows from workers, `finish` each job's result."""

    def __init__(self, jobs: Sequence[Job], console: Console):
        self.console, self.live = console, console.is_terminal
        self.steps = {job.run_id: 0 for job in jobs}
        self.printed = time.monotonic()
        self.bars = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(),
            TextColumn("{task.fields[brief]}"), TimeElapsedColumn(), TimeRemainingColumn(), console=console,
            disable=not self.live, transient=True, get_time=time.monotonic, speed_estimate_period=math.inf,
        )  # fmt: skip
        self.all = self.bars.add_task(f"all {len(jobs)} jobs", total=sum(job.until for job in jobs), brief="steps")
        self.lines: dict[str, Any] = {}
        self.alarms: dict[str, str] = {}  # the text of each and the job that it came from first

    def __enter__(self) -> "ProgressView":
        self.bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bars.stop()

    def update(self, job: Job, row: Mapping[str, Any]) -> None:
        """One row of a worker: progress, or an alarm or an early end, which stay on the screen."""
        if "alarm" in row:
            first = self.alarms.setdefault(row["alarm"], job_name(job))
            text = row["alarm"] if first == job_name(job) else f"as {first}"
            self.console.print(f"[bold yellow]alarm[/] {job_name(job)}: {escape(text)}", highlight=False)
            return
        if "ended" in row:
            self.console.print(f"{job_name(job)} {row['ended']}", highlight=False)
            return
        if job.run_id not in self.lines:
            self.lines[job.run_id] = self.bars.add_task(f"  {job_name(job)}", total=row["until"], brief="")
        self.steps[job.run_id] = row["step"]
        self.bars.update(self.lines[job.run_id], completed=row["step"], brief=progress_summary(row))
        self._update_total(f"{job_name(job)} at step {row['step']}/{row['until']}  {progress_summary(row)}")

    def finish(self, result: JobResult) -> None:
        """A job has ended; a failure is printed at once, in a line, and in full at the end."""
        job = result.job
        if job.run_id in self.lines:
            self.bars.remove_task(self.lines.pop(job.run_id))
        self.steps[job.run_id] = job.until
        if result.status == "done":
            self._update_total(f"{job_name(job)} done in {result.seconds:.0f} s", always=True)
        else:
            message = escape(f"{job_name(job)}: {headline(result.error or '')}")
            colour = "green" if result.status == "submitted" else "red"
            self.console.print(f"[bold {colour}]{result.status}[/] {message}", highlight=False)

    def _update_total(self, line: str, always: bool = False) -> None:
        self.bars.update(self.all, completed=sum(self.steps.values()))
        if not self.live and (always or time.monotonic() - self.printed > SECONDS_BETWEEN_PLAIN_LINES):
            self.printed, whole = time.monotonic(), self.bars.tasks[0]
            # At the pace since rows came, for start-up is no rate; of a few seconds the pace says little.
            seconds = whole.time_remaining if (whole.elapsed or 0.0) > SECONDS_BETWEEN_PLAIN_LINES else None
            left = f"  (about {format_hours(seconds / 3600)} left)" if seconds else ""
            self.console.print(f"{whole.percentage:3.0f}%  {line}{left}", highlight=False)
