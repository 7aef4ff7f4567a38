"""What happens around the steps of a run: rows of metrics, checkpoints, warnings, dumps, words to the parent."""

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from time import monotonic
from typing import Any

import torch

from harness.config.parse import dump
from harness.core.flops import Spent
from harness.launch.jobs import Job
from harness.run import diagnostics as alarms
from harness.run.checkpoint import save_checkpoint, save_dump
from harness.run.folder import Member, Stack
from harness.run.tracker import Tracker, open_tracker
from harness.train.state import NonFinite, StepReport, TrainState

SECONDS_BETWEEN_REPORTS = 0.5

Report = Callable[[Job, dict[str, Any]], None]


class Loop:
    """What happens after each step: rows of metrics, the budget's evaluation, checkpoints, a word to the parent."""

    def __init__(self, members: Stack, trackers: Sequence[Tracker], report: Report, stop: Callable):
        self.members, self.trackers, self.report, self.stop = members, trackers, report, stop
        self.until, self.save = members[0].job.until, members[0].config.save
        self.saved = self.reported = monotonic()
        self.recent: list[list[dict[str, float]]] = [[] for _ in members]
        self.said: set[tuple[str, str]] = set()

    def after(self, state: TrainState, step: StepReport, on_budget: Callable[[TrainState], None]) -> None:
        rows = metrics_rows(state.spent, step)
        for tracker, row in zip(self.trackers, rows):
            tracker.log(row)
        on_budget(state)
        stopped, now = self.stop(), monotonic()
        last = state.step >= self.until
        if stopped or last or now - self.saved >= self.save.seconds:
            self.checkpoint(state)
            self.saved = now
        if now - self.reported >= SECONDS_BETWEEN_REPORTS or last:
            self.reported = now
            for member, row in zip(self.members, rows):
                self.report(member.job, {"step": state.step, "until": self.until, **row})
        self.alarm(rows)
        if stopped:
            raise stopped

    def checkpoint(self, state: TrainState) -> None:
        for i, member in enumerate(self.members):
            save_checkpoint(member.folder.checkpoints, member.folder.run_id, state, self.save.keep, i)
            member.folder.set_status("running", state.step)

    def alarm(self, rows: Sequence[dict[str, float]]) -> None:
        for i, row in enumerate(rows):
            self.recent[i] = [*self.recent[i], row][-alarms.WINDOW :]
            if "train/no_signal_groups" in row:
                self.say(self.members[i], alarms.during_rl(self.recent[i]))

    def say(self, member: Member, messages: Iterable[str]) -> None:
        """Each message once a run."""
        for message in messages:
            if (member.job.run_id, message) not in self.said:
                self.said.add((member.job.run_id, message))
                self.report(member.job, {"alarm": message})


def metrics_rows(spent: Sequence[Spent], step: StepReport) -> list[dict[str, float]]:
    """The rows of metrics.jsonl for one step, one a run of the stack; times are of the whole stack."""
    # All at once: each look at a number of a GPU waits for it.
    device = next(iter(step.metrics.values())).device
    found = torch.stack([value.to(device, torch.float64) for value in step.metrics.values()], dim=1).tolist()
    names = ["optim/lr" if name == "lr" else f"train/{name}" for name in step.metrics]
    shared = {f"time/{name}": value for name, value in step.seconds.items()}
    if step.sampled is not None:
        seconds, rollouts = sum(step.seconds.values()), step.sampled.rollouts
        shared["perf/tokens_per_s"] = float(rollouts.length.sum()) / seconds
        shared["perf/completions_per_s"] = rollouts.rows / seconds
    return [axes(own) | dict(zip(names, values)) | shared for own, values in zip(spent, found)]


def axes(spent: Spent) -> dict[str, float]:
    return {f"compute/{name}": value for name, value in asdict(spent).items()}


@contextmanager
def dumping(members: Stack, state: TrainState) -> Generator[None]:
    """A step that gives no number ends the run with a dump of it; the last checkpoint stays to go on from."""
    try:
        yield
    except NonFinite as error:
        for member in members:
            where = save_dump(member.folder.path / "dump", member.folder.run_id, state, error)
            error.add_note(f"Its batch and weights are in {where}. The last checkpoint is from before that step.")
        error.add_note("If it comes again there: lower optim.lr or optim.grad_clip, or raise schedule.warmup.")
        raise


@contextmanager
def open_trackers(members: Stack) -> Generator[list[Tracker]]:
    with ExitStack() as stack:
        opened = (
            open_tracker(m.config.tracker, m.folder.path, m.folder.run_id, dump(m.config), m.job.labels)
            for m in members
        )
        yield [stack.enter_context(tracker) for tracker in opened]
