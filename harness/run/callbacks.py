"""What happens around the steps of a run: rows of metrics, checkpoints, warnings, dumps, progress for the parent."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from time import monotonic
from typing import Any

import torch

from harness.config.parse import dump
from harness.config.run_names import name_of
from harness.core.flops import Spent
from harness.launch.jobs import Job
from harness.run import diagnostics
from harness.run.checkpoint import save_checkpoint, save_dump
from harness.run.folder import folder_of
from harness.run.tracker import Tracker, open_tracker
from harness.train.state import NonFinite, StepReport, TrainState

SECONDS_BETWEEN_REPORTS = 0.5

ReportRow = Callable[[Job, dict[str, Any]], None]


class StepCallbacks:
    """What happens after each step: rows of metrics, the budget's evaluation, checkpoints, progress for the parent.

    Without `trackers`, of steps that are trained again, no row is written, and checkpoints lie in `replay`.
    """

    def __init__(
        self, members: Sequence[Job], until: int, report: ReportRow, stop: Callable, trackers: Sequence[Tracker] = ()
    ):
        self.members, self.until, self.report, self.stop, self.trackers = members, until, report, stop, trackers
        self.checkpoints = [f.checkpoints if trackers else f.replay for f in map(folder_of, members)]
        self.save = members[0].config.save
        self.saved = self.reported = monotonic()
        self.recent: list[list[dict[str, float]]] = [[] for _ in members]
        self.warned: set[tuple[str, str]] = set()

    def after_step(self, state: TrainState, step: StepReport, on_budget: Callable[[TrainState], None]) -> None:
        rows = metrics_rows(state.spent, step)
        self.log(rows)
        on_budget(state)
        stopped, now = self.stop(), monotonic()
        last = state.step >= self.until
        if stopped or last or now - self.saved >= self.save.seconds:
            self.save_checkpoints(state)
            self.saved = now
        if now - self.reported >= SECONDS_BETWEEN_REPORTS or last:
            self.reported = now
            for member, row in zip(self.members, rows):
                self.report(member, {"step": state.step, "until": self.until, **row})
        self.diagnose(rows)
        if stopped:
            raise stopped

    def log(self, rows: Sequence[dict[str, float]]) -> None:
        """A row for each member."""
        for tracker, row in zip(self.trackers, rows):
            tracker.log(row)

    def save_checkpoints(self, state: TrainState) -> None:
        for i, member in enumerate(self.members):
            save_checkpoint(self.checkpoints[i], state, self.save.keep, i)
            folder_of(member).set_reached(state.step)

    def end_run(self, state: TrainState, reason: str) -> None:
        """Before its last step, for good: no later job trains the run further."""
        self.save_checkpoints(state)
        for member in self.members:
            folder_of(member).set_end(state.step, reason)
            self.report(member, {"ended": f"ended at step {state.step} of {self.until}: {reason}"})

    def diagnose(self, rows: Sequence[dict[str, float]]) -> None:
        for i, row in enumerate(rows):
            self.recent[i] = [*self.recent[i], row][-diagnostics.WINDOW - 1 :]
            if "train/zero_advantage_groups" in row:
                problems = self.members[i].config.rl.problems
                self.warn(self.members[i], diagnostics.during_rl(self.recent[i], problems))

    def warn(self, member: Job, alarms: Mapping[str, str]) -> None:
        """Reports each alarm, a name with its text, once a run."""
        for name, text in alarms.items():
            if (member.run_id, name) not in self.warned:
                self.warned.add((member.run_id, name))
                self.report(member, {"alarm": text})


def metrics_rows(spent: Sequence[Spent], step: StepReport) -> list[dict[str, float]]:
    """The rows of metrics.jsonl for one step, one a run of the stack; times are of the whole stack."""
    # All at once: each look at a number of a GPU waits for it.
    device = next(iter(step.metrics.values())).device
    values = torch.stack([value.to(device, torch.float64) for value in step.metrics.values()], dim=1).tolist()
    names = ["optim/lr" if name == "lr" else f"train/{name}" for name in step.metrics]
    shared = {f"time/{name}": value for name, value in step.seconds.items()}
    if step.rollouts is not None:
        seconds = sum(step.seconds.values())
        shared["perf/tokens_per_s"] = float(step.rollouts.length.sum()) / seconds
        shared["perf/completions_per_s"] = step.rollouts.rows / seconds
    return [compute_metrics(own) | dict(zip(names, numbers)) | shared for own, numbers in zip(spent, values)]


def compute_metrics(spent: Spent) -> dict[str, float]:
    """compute/{step, completions, tokens, …}: the axes of a row."""
    return {f"compute/{name}": value for name, value in asdict(spent).items()}


@contextmanager
def dump_on_nonfinite(members: Sequence[Job], state: TrainState) -> Generator[None]:
    """A non-finite loss or gradient ends the run with a dump of its step; the last checkpoint stays to go on from."""
    try:
        yield
    except NonFinite as error:
        for member in members:
            where = save_dump(folder_of(member).path / "dump", state, error)
            error.add_note(f"Its batch and weights are in {where}. The last checkpoint is from before that step.")
        error.add_note("If it comes again there: lower optim.lr or optim.grad_clip, or raise schedule.warmup.")
        raise


@contextmanager
def open_trackers(members: Sequence[Job], report: ReportRow) -> Generator[list[Tracker]]:
    """A tracker for each member, under the labels that its run was first launched with. What fails in W&B is reported
    as an alarm: what a worker prints is not seen once its job has ended well."""

    def warn(job: Job, text: str) -> None:
        report(job, {"alarm": text})

    with ExitStack() as stack:
        trackers = []
        for job, folder in ((job, folder_of(job)) for job in members):
            labels = {**folder.labels()[0], "name": name_of(folder.path)}
            tracker = open_tracker(
                job.config.tracker, folder.path, job.run_id, dump(job.config), labels, partial(warn, job)
            )
            trackers.append(stack.enter_context(tracker))
        yield trackers
