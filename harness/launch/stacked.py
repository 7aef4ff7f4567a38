"""Runs of one shape in one model: seeds share every kernel launch, each with the streams that it would have alone.

Jobs that are alike but for their seeds become one, which a local process works on. Worth it on a GPU, where a tiny
policy leaves the chip idle; on a CPU parallel processes do as well. The native backend, whose C takes one seed after
the other anyway, trains the runs of a stack so.
"""

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict

from harness.config.parse import dump
from harness.config.schema import StackedConfig
from harness.core.groups import grouped
from harness.launch.jobs import Event, Job
from harness.launch.local import LocalPool


def stack_key(job: Job) -> str:
    """Equal for jobs that can be stacked: alike but for their seeds."""
    plain = dump(job.config)
    plain["base"].pop("seed")
    plain |= {"seed": None, "is_base": job.is_base}
    return json.dumps([plain, job.until, job.budgets], sort_keys=True)


def group_into_stacks(jobs: Sequence[Job], most: int) -> list[Job]:
    """The jobs in stacks of at most `most`, each as one job that holds them."""
    alike = grouped(jobs, stack_key).values()
    stacks = [group[i : i + most] for group in alike for i in range(0, len(group), most)]
    return [_as_one(stack) for stack in stacks]


def _as_one(stack: Sequence[Job]) -> Job:
    name = hashlib.blake2b("".join(job.run_id for job in stack).encode(), digest_size=6).hexdigest()
    return Job(f"stack-{name}", {"jobs": [asdict(job) for job in stack]}, stack[0].until)


class StackedPool(LocalPool):
    """Takes all jobs that are ready, stacks them, and hands the stacks to its processes."""

    def __init__(self, config: StackedConfig, function: bytes, n_jobs: int):
        super().__init__(config, function, n_jobs)
        self._most, self._waiting = config.seeds, deque[Job]()
        self._stacks: dict[str, list[str]] = {}
        self._cancelled: list[Event] = []

    def free(self) -> int:
        """All that are ready while nothing is under way: jobs that come one by one would make stacks of one."""
        return 0 if self._stacks else 2**31

    def submit(self, jobs: Sequence[Job]) -> None:
        for stack in group_into_stacks(jobs, self._most):
            self._stacks[stack.run_id] = [member["run_id"] for member in stack.run["jobs"]]
            self._waiting.append(stack)
        while self._waiting and super().free():
            super().submit([self._waiting.popleft()])

    def poll(self) -> Iterable[Event]:
        events = [mine for event in (*super().poll(), *self._cancelled) for mine in self._of_members(event)]
        self._cancelled.clear()
        self.submit([])
        return events

    def _of_members(self, event: Event) -> Iterator[Event]:
        if event.kind == "progress":
            row = dict(event.data)
            yield Event(row.pop("member"), "progress", row)
            return
        for run_id in self._stacks.pop(event.run_id):
            yield Event(run_id, event.kind, event.data, event.seconds, event.output)

    def stop(self) -> None:
        """Running stacks save and end; those that wait are cancelled."""
        self._cancelled += [Event(stack.run_id, "cancelled", "the launch was stopped") for stack in self._waiting]
        self._waiting.clear()
        super().stop()
