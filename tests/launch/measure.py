"""Prints the figures of docs/scale.md: python -m tests.launch.measure [efficiency overhead bookkeeping ray]

Two jobs at once, one thread each. Efficiency is the time that the jobs sleep, over places, over the wall clock, the
start of the workers included. A minute in all; other work on the machine is part of what is measured.
"""

import os
import sys
import time

from harness.launch.jobs import Event, Job, LocalConfig, Schedule, launch

PLACES = 2
LOCAL = LocalConfig("local", PLACES, 1, 0.1, 0, 10.0)


def seconds_of(jobs: list[Job], act: str) -> float:
    start = time.monotonic()
    ended = list(launch(jobs, LOCAL, act))
    assert all(result.status == "done" for result in ended)
    return time.monotonic() - start


def efficiency() -> None:
    for each in (0.5, 0.1):
        jobs = [Job(str(i), {"do": "sleep", "seconds": each}, 1) for i in range(64)]
        took = seconds_of(jobs, "tests.launch.works:act")
        print(f"64 jobs of {each:g} s: {64 * each / PLACES / took:.0%} of ideal")


def overhead() -> None:
    for n in (2_000, 10_000):
        took = seconds_of([Job(str(i), {"do": "return"}, 1) for i in range(n)], "tests.launch.works:act")
        print(f"{n:,} empty jobs: {1e3 * took / n:.2f} ms a job")


def bookkeeping(bases: int = 1_000, n: int = 100_000) -> None:
    jobs = [Job(f"base-{i}", {}, 1) for i in range(bases)]
    jobs += [Job(str(i), {}, 1, needs=(f"base-{i % bases}",)) for i in range(n - bases)]
    start = time.monotonic()
    schedule = Schedule(jobs)
    while schedule.unfinished:
        for job in schedule.take(64):
            schedule.settle(Event(job.run_id, "done"), 0)
    took = time.monotonic() - start
    print(f"bookkeeping of {n:,} jobs on {bases:,} bases: {took:.1f} s, {1e6 * took / n:.0f} µs a job")


def ray() -> None:
    from harness.launch.ray import _connect

    start = time.monotonic()
    _connect(None)
    print(f"ray.init of a cluster of this machine: {time.monotonic() - start:.1f} s")


PARTS = {part.__name__: part for part in (efficiency, overhead, bookkeeping, ray)}

if __name__ == "__main__":
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()
