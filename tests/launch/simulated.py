"""A cluster of numbers under the real `launch`: python -m tests.launch.simulated

Job times, errors and losses of nodes are drawn, and the clock jumps from one end to the next, so that a day of a
cluster takes seconds. A job whose node is lost is killed, and goes on from its last checkpoint when it is taken again.
"""

import heapq
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from unittest import mock

import numpy as np

from harness.launch.jobs import Event, Job
from harness.launch.launch import launch
from tests.launch.works import act

HOUR = 3600.0


@dataclass(frozen=True)
class Simulated:
    """A launcher's configuration; times in seconds. A job works for job.run["seconds"], and raises at the end if
    job.run["raises"]. A node's life is drawn from an exponential of mean `life`; after `repair` it is back."""

    nodes: int
    places: int  # of a node
    life: float
    repair: float
    start: float  # of an attempt, before its first step
    save: float  # between checkpoints
    retries: int
    seed: int
    name: str = "simulated"
    opened: list["SimulatedPool"] = field(default_factory=list)  # to look into afterwards


class SimulatedPool:
    """A `Pool` whose clock, `now`, moves when it is polled."""

    def __init__(self, config: Simulated, function: bytes, n_jobs: int):
        self.config, self._rng = config, np.random.default_rng(config.seed)
        self.now, self.losses = 0.0, 0
        self._free = [node for node in range(config.nodes) for _ in range(config.places)]
        self._jobs: dict[str, Job] = {}
        self._running: dict[str, tuple[int, float]] = {}  # run_id -> node, when it began
        self._left: dict[str, float] = {}  # run_id -> seconds of work from its last checkpoint
        self._ends: list[tuple[float, str, int, float]] = []  # when, run_id, node, when it began
        self._changes = [(self._rng.exponential(config.life), node, False) for node in range(config.nodes)]
        heapq.heapify(self._changes)  # when, node, whether it is back
        config.opened.append(self)

    def __enter__(self) -> "SimulatedPool":
        return self

    def __exit__(self, *error: object) -> None:
        assert not self._running

    def free(self) -> int:
        return len(self._free)

    def submit(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            assert job.run_id not in self._running
            node, left = self._free.pop(), self._left.setdefault(job.run_id, job.run["seconds"])
            self._jobs[job.run_id], self._running[job.run_id] = job, (node, self.now)
            heapq.heappush(self._ends, (self.now + self.config.start + left, job.run_id, node, self.now))

    def poll(self) -> Iterable[Event]:
        """What happens next: a job ends, or a node is lost with its jobs, or one is back."""
        while self._ends and self._running.get(self._ends[0][1]) != self._ends[0][2:]:
            heapq.heappop(self._ends)  # of an attempt that was killed
        if not self._ends or self._changes[0] < self._ends[0][:1]:
            return self._change(*heapq.heappop(self._changes))
        self.now, run_id, node, began = heapq.heappop(self._ends)
        del self._running[run_id]
        self._free.append(node)
        kind = "failed" if self._jobs[run_id].run["raises"] else "done"
        return [Event(run_id, kind, kind, self.now - began)]

    def stop(self) -> None:
        raise NotImplementedError("a simulation is not stopped")

    def _change(self, when: float, node: int, back: bool) -> list[Event]:
        self.now = when
        until = when + (self._rng.exponential(self.config.life) if back else self.config.repair)
        heapq.heappush(self._changes, (until, node, not back))
        if back:
            self._free += [node] * self.config.places
            return []
        self.losses += 1
        self._free = [other for other in self._free if other != node]
        return [self._kill(run_id) for run_id, (on, _) in list(self._running.items()) if on == node]

    def _kill(self, run_id: str) -> Event:
        _, began = self._running.pop(run_id)
        worked = max(0.0, self.now - began - self.config.start)
        self._left[run_id] -= worked // self.config.save * self.config.save
        return Event(run_id, "killed", "its node was lost", self.now - began)


@dataclass(frozen=True)
class Outcome:
    """counts: results by status. killed: attempts that a lost node ended. hours: of the simulated clock. share: work
    that was needed, over places x hours. cpu: seconds that the launching process itself took."""

    counts: Counter[str]
    killed: int
    losses: int
    hours: float
    share: float
    cpu: float


def simulate(jobs: Sequence[Job], cluster: Simulated) -> Outcome:
    """Runs the jobs through the real `launch`, and checks that each ends once."""
    start = time.process_time()
    with mock.patch("harness.launch.launch.pool_type", return_value=SimulatedPool):
        results = list(launch(jobs, cast(Any, cluster), act))
    cpu, pool = time.process_time() - start, cluster.opened[-1]
    assert len(results) == len({result.job.run_id for result in results}) == len(jobs)
    places = cluster.nodes * cluster.places
    work = sum(result.job.run["seconds"] for result in results if result.attempts)
    killed = sum(result.attempts - (result.status != "killed") for result in results if result.attempts)
    counts = Counter(result.status for result in results)
    return Outcome(counts, killed, pool.losses, pool.now / HOUR, work / places / pool.now, cpu)


def study_jobs(n: int, bases: int, seconds: float, base_seconds: float, raising: float, seed: int) -> list[Job]:
    """n jobs, bases first, and runs that need one each. Runs take a log-normal time about `seconds` with a spread of a
    third, and a share `raising` of them raises."""
    rng = np.random.default_rng(seed)
    times, raises = seconds * rng.lognormal(sigma=1 / 3, size=n - bases), rng.random(n - bases) < raising
    runs = [{"seconds": float(t), "raises": bool(r)} for t, r in zip(times, raises)]
    first = [Job(f"base-{i}", {"seconds": base_seconds, "raises": False}, 1) for i in range(bases)]
    return first + [Job(f"{i}", run, 1, needs=(f"base-{i % bases}",)) for i, run in enumerate(runs)]


def main() -> None:
    """100,000 jobs like those of the quickstart (a base 169 s, a run about 70 s) on 125 nodes of 8 places."""
    jobs = study_jobs(100_000, 1_000, 70.0, 169.0, raising=1e-3, seed=1)
    print("node's life, h | losses | attempts killed | done | failed | killed | skipped | hours | share | cpu, s")
    for life in (1e9, 24.0, 4.0, 1.0):
        o = simulate(jobs, Simulated(125, 8, life * HOUR, 600.0, 5.0, 30.0, 3, seed=0))
        ends = " | ".join(f"{o.counts[status]:,}" for status in ("done", "failed", "killed", "skipped"))
        print(f"{life:g} | {o.losses:,} | {o.killed:,} | {ends} | {o.hours:.2f} | {o.share:.1%} | {o.cpu:.1f}")


if __name__ == "__main__":
    main()
