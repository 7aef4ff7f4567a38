"""Does anything grow with time? Memory, descriptors, threads, children and seconds over many RL steps of one run, and
over many studies launched one after the other by one process.

    python -m benchmarks.soak steps=20000 launches=200

A soak writes into a new folder of the system's temporary one and removes it. Needs /proc.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import initialize_config_module
from rich.console import Console
from scipy.stats import theilslopes

from benchmarks.ours import composed
from benchmarks.timing import markdown, table
from harness.config.compose import Composer
from harness.config.identity import base_id, run_id
from harness.config.parse import dump
from harness.launch.jobs import Job
from harness.launch.local import THREAD_VARIABLES
from harness.run.job import run_job
from harness.study.execute import report_study, run_jobs
from harness.study.expand import expand

SAMPLES = 400  # of a soak over steps, at most
WARM_UP = 0.1  # share of a soak that is not judged: caches fill
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20
# A learning rate at which the policy stays what it is: as one learns, more groups have signal, and a step costs more.
NANO = (
    "model=nano",
    "optim.lr=1e-8",
    "tracker=none",
    "device=cpu",
    "base.steps=60",
    "base.documents=64",
    "evaluation.problems=16",
)
STUDY = (
    "study=skills", "model=micro", "tracker=none", "device=cpu", "launcher.jobs=2", "study.seeds=[0]",
    "base.steps=3", "rl.steps=4",
    "base.documents=8", "rl.problems=4", "rl.group_size=4", "evaluation.problems=4", "evaluation.samples=4",
)  # fmt: skip


# What a process holds `at` so many steps or launches, and the seconds that one took since the sample before.
Sample = dict[str, float]


@dataclass(frozen=True)
class Trend:
    """A quantity over a soak without its warm-up: its medians in the first and the last fifth, and the slope of a line
    through it (Theil and Sen's: outliers do not move it) with its 95% interval, over the whole length."""

    first: float
    last: float
    growth: float
    low: float
    high: float

    @property
    def is_flat(self) -> bool:
        """Whether no growth is shown, or less than 2% of what it was."""
        return self.low <= 0 or self.growth <= 0.02 * abs(self.first)


def trend(at: Sequence[float], values: Sequence[float]) -> Trend:
    """Of a quantity that was `values` after `at` steps. Raises ValueError for fewer than 10 samples."""
    start = int(WARM_UP * len(at))
    x, y = np.asarray(at[start:], float), np.asarray(values[start:], float)
    if len(x) < 10:
        raise ValueError(f"{len(x)} samples after the warm-up show no trend; soak longer")
    fifth, length = len(x) // 5, float(x[-1] - x[0])
    slope, _, low, high = theilslopes(y, x)
    first, last = float(np.median(y[:fifth])), float(np.median(y[-fifth:]))
    return Trend(first, last, slope * length, low * length, high * length)


class Watch:
    """Takes samples of this process; `clock` gives its seconds."""

    def __init__(self, clock: Callable[[], float]):
        self.clock, self.samples = clock, list[Sample]()
        self._at, self._then = 0, clock()

    def take(self, at: int) -> None:
        now, process = self.clock(), Path("/proc/self")
        memory = int((process / "statm").read_text().split()[1]) * PAGE_MB
        counts = (len(os.listdir(process / name)) for name in ("fd", "task"))
        children = sum(len(path.read_text().split()) for path in process.glob("task/*/children"))
        seconds = (now - self._then) / max(1, at - self._at)
        values = (at, memory, *counts, children, seconds)
        names = ("at", "memory, MB", "descriptors", "threads", "children", "seconds each")
        self.samples.append(dict(zip(names, values)))
        self._at, self._then = at, now
        if len(self.samples) % 20 == 0:
            print(self.samples[-1], file=sys.stderr, flush=True)


def soak_steps(steps: int, out: Path, settings: Sequence[str] = NANO) -> list[Sample]:
    """One RL run in this process, with its checkpoints, evaluations and rows of metrics."""
    budgets = sorted({0, *(steps * i // 4 for i in range(1, 5))})
    own = (f"out={out}", f"rl.steps={steps}", f"budgets={budgets}".replace(" ", ""))
    config = composed([*settings, *own])
    base = Job(base_id(config), dump(config), config.base.steps, labels={"arm": "base"})
    run = Job(run_id(config), dump(config), steps, config.budget_steps(), (base.run_id,), {"arm": "soak"})
    run_job(base, lambda row: None)
    watch, every = Watch(time.process_time), max(1, steps // SAMPLES)

    def report(row: dict[str, Any]) -> None:
        if "step" in row and row["step"] >= (watch.samples[-1]["at"] if watch.samples else 0) + every:
            watch.take(row["step"])

    run_job(run, report)
    return watch.samples


def soak_launches(launches: int, out: Path, settings: Sequence[str] = STUDY) -> list[Sample]:
    """Studies one after the other from this process: composed, run by the local launcher, analysed, reported."""
    watch, quiet = Watch(time.monotonic), Console(quiet=True)
    for number in range(1, launches + 1):
        overrides = [*settings, f"out={out}/{number}"]
        with initialize_config_module("configs", version_base="1.3"):
            study = expand(Composer("study"), overrides)
        run_jobs(study.jobs, study.entries[0].config, quiet)
        report_study(study, overrides, quiet)
        watch.take(number)
    return watch.samples


def section(samples: Sequence[Sample], what: str) -> str:
    """A Markdown table of the trends of `samples`."""
    at, rows = [sample["at"] for sample in samples], []
    for name in list(samples[0])[1:]:
        t = trend(at, [sample[name] for sample in samples])
        growth = f"{t.growth:+.4g} ({t.low:+.4g} to {t.high:+.4g})"
        rows.append((name, f"{t.first:.4g}", f"{t.last:.4g}", growth, "yes" if t.is_flat else "no"))
    columns = ("", "first fifth", "last fifth", "growth by slope (95%)", "flat")
    return markdown(f"{at[-1]:,} {what}, {len(samples)} samples:", table(columns, rows))


def main(arguments: Sequence[str]) -> None:
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))  # for the launches; this process has read them
    torch.set_num_threads(1)
    counts = {"steps": "20000", "launches": "200"} | dict(each.partition("=")[::2] for each in arguments)
    soaks = (
        ("steps", soak_steps, "RL steps of nano in one process"),
        ("launches", soak_launches, "studies launched by one process"),
    )
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        for name, soak, what in soaks:
            if count := int(counts[name]):
                print(section(soak(count, Path(folder)), what), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
