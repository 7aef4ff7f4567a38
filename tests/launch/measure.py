"""Prints the figures of docs/explanation/scale.md:

python -m tests.launch.measure [efficiency overhead bookkeeping planning ray]

Two jobs at once, one thread each. Efficiency is the time that the jobs sleep, over places, over the wall clock, the
start of the workers included. A minute in all; other work on the machine is part of what is measured.
"""

import os
import sys
import time
from pathlib import Path

from harness.config.schema import Launcher, LocalConfig, RayConfig
from harness.launch.jobs import Event, Job, Schedule
from harness.launch.launch import launch
from tests.launch.works import act

PLACES = 2
LOCAL = LocalConfig("local", PLACES, 1, 0.1, 0, 10.0)


def seconds_of(jobs: list[Job], launcher: Launcher = LOCAL) -> float:
    start = time.monotonic()
    ended = list(launch(jobs, launcher, act))
    assert all(result.status == "done" for result in ended)
    return time.monotonic() - start


def efficiency() -> None:
    for each in (0.5, 0.1):
        jobs = [Job(str(i), {"do": "sleep", "seconds": each}, 1) for i in range(64)]
        took = seconds_of(jobs)
        print(f"64 jobs of {each:g} s: {64 * each / PLACES / took:.0%} of ideal")


def overhead() -> None:
    for n in (2_000, 10_000):
        took = seconds_of([Job(str(i), {"do": "return"}, 1) for i in range(n)])
        print(f"{n:,} empty jobs: {1e3 * took / n:.2f} ms a job")


def bookkeeping(bases: int = 1_000, n: int = 100_000) -> None:
    jobs = [Job(f"base-{i}", {}, 1) for i in range(bases)]
    jobs += [Job(str(i), {}, 1, needs=(f"base-{i % bases}",)) for i in range(n - bases)]
    start = time.monotonic()
    schedule = Schedule(jobs)
    while schedule.unfinished:
        for job in schedule.start_ready(64):
            schedule.record_end(Event(job.run_id, "done"), 0)
    took = time.monotonic() - start
    print(f"bookkeeping of {n:,} jobs on {bases:,} bases: {took:.1f} s, {1e6 * took / n:.0f} µs a job")


def planning(seeds: int = 1_000) -> None:
    """From the command line to the first job, for the quickstart's three arms."""
    from hydra import compose, initialize_config_module

    import harness.run.checkpoint  # noqa: F401  (torch is there whatever the number of jobs)
    from harness.config.compose import plain
    from harness.study.expand import expand
    from harness.study.plan import plan_table

    asked = [f"study.seeds=[{','.join(map(str, range(seeds)))}]", "out=nowhere"]
    with initialize_config_module("configs", version_base="1.3"):
        start, before = time.process_time(), memory()
        study = expand(lambda overrides: plain(compose("study", list(overrides))), asked)
        plan_table(study.jobs, study.pending(), 1, {})
    took, n = time.process_time() - start, len(study.jobs)
    print(f"planning {n:,} jobs: {1e3 * took / n:.0f} ms of CPU and {1e3 * (memory() - before) / n:.0f} kB a job")


def memory() -> float:
    """MB that this process holds."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def ray(n: int = 1_000) -> None:
    from harness.launch.ray import _connect

    start = time.monotonic()
    _connect(None)
    print(f"ray.init of a cluster of this machine: {time.monotonic() - start:.1f} s")
    jobs = [Job(str(i), {"do": "return"}, 1) for i in range(n)]
    took = seconds_of(jobs, RayConfig("ray", None, None, 1.0, 0.0, 0, 10.0))
    print(f"{n:,} empty jobs: {1e3 * took / n:.1f} ms a job")


PARTS = {part.__name__: part for part in (efficiency, overhead, bookkeeping, planning, ray)}

if __name__ == "__main__":
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()
