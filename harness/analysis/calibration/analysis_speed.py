"""How long a whole analysis takes, and how that grows with the size of the table."""

import resource
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from harness.analysis.calibration.simulate import (
    KINDS,
    StudyDesign,
    draw_curves,
    draw_effects,
    problem_success,
    run_table,
)
from harness.analysis.data.options import Options
from harness.analysis.report.analyze import write_analysis

# Arm -> kind of curve on verified and on unverified tasks. The first `arms` of them make the study.
ARMS = {
    "true_reward": ("line", "line_small"),
    "shuffled_within_group": ("flat", "flat"),
    "frozen": ("flat", "flat"),
    "direct": ("line", "line"),
    "random_reward": ("flat", "flat"),
    "format_reward": ("rise_below_margin", "flat"),
    "continued_pretraining": ("hill_levels_off", "hill_levels_off"),
    "placebo_domain": ("hill_early", "flat"),
}


@dataclass(frozen=True)
class SpeedDesign:
    """Sizes of the studies that are timed: one for each number of tasks."""

    tasks: tuple[int, ...] = (5, 10, 20)
    arms: int = 8
    seeds: int = 10
    budgets: int = 12
    problems: int = 64
    seed: int = 0


def study_tables(arms: int, tasks: int, design: StudyDesign, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(run table, problems table) of a study with planted curves: half of the tasks verified, half not."""
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    rows, problems = [], []
    for arm, kinds in list(ARMS.items())[:arms]:
        for i in range(tasks):
            role = ("verified", "unverified")[i % 2]
            x, _, curves = draw_curves(KINDS[kinds[i % 2]], design, rng)
            solved = problem_success(np.round(curves, 4).reshape(-1), draw_effects(design, rng), design.problem_sd)
            counts = rng.binomial(design.k, solved).reshape(*curves.shape, design.problems)
            task = f"task{i // 2}.{role}"
            rows.append(run_table(x, counts.sum(2), (counts**2).sum(2), design, arm, task, role))
            cells = {
                "run_id": np.repeat([f"{arm}-{i}" for i in range(design.seeds)], len(x) * design.problems),
                "x": np.tile(np.repeat(x, design.problems), design.seeds),
                "task": task,
                "problem": np.tile(np.arange(design.problems).astype(str), design.seeds * len(x)),
                "k": design.k,
                "n_correct": counts.reshape(-1),
            }
            problems.append(pl.DataFrame(cells))
    return pl.concat(rows), pl.concat(problems)


def measure_speed(sizes: SpeedDesign, out: Path, options: Options) -> None:
    """Analyses one planted study for each number of tasks, under `out`, and prints seconds and memory of each."""
    design = StudyDesign(seeds=sizes.seeds, budgets=sizes.budgets, problems=sizes.problems)
    for tasks in sizes.tasks:
        folder = out / f"tasks-{tasks}"
        folder.mkdir(parents=True, exist_ok=True)
        table, problems = study_tables(sizes.arms, tasks, design, sizes.seed)
        table.write_parquet(folder / "table.parquet")
        problems.write_parquet(folder / "problems.parquet")
        began, cpu = time.monotonic(), time.process_time()
        write_analysis(folder, folder, options)
        wall, cpu = time.monotonic() - began, time.process_time() - cpu
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(
            f"{tasks} tasks, {table.height:,} rows, {problems.height:,} problem rows: {cpu:.1f} s of CPU, "
            f"{wall:.1f} s elapsed, at most {memory:.1f} GB",
            flush=True,
        )
