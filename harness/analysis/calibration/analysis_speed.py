"""How long a whole analysis takes, and how that grows with the size of the table. One command:

python -m harness.analysis.speed out=DIR [tasks=5,10,20] [arms=8] [seeds=10] [budgets=12]
"""

import resource
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl

from harness.analysis.calibration.simulate import KINDS, Design, draw_curves, draw_effects, success, table_of
from harness.analysis.data.options import default_options
from harness.analysis.report.analyze import analyze

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


def study_tables(arms: int, tasks: int, design: Design, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """(run table, problems table) of a study with planted curves: half of the tasks verified, half not."""
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    rows, problems = [], []
    for arm, kinds in list(ARMS.items())[:arms]:
        for i in range(tasks):
            role = ("verified", "unverified")[i % 2]
            x, _, curves = draw_curves(KINDS[kinds[i % 2]], design, rng)
            solved = success(np.round(curves, 4).reshape(-1), draw_effects(design, rng), design.problem_sd)
            counts = rng.binomial(design.k, solved).reshape(*curves.shape, design.problems)
            named = {"arm": arm, "task": f"task{i // 2}.{role}", "role": role}
            rows.append(table_of(x, counts.sum(2), (counts**2).sum(2), design, **named))
            problems.append(_problems_of(x, counts, design.k, arm, named["task"]))
    return pl.concat(rows), pl.concat(problems)


def _problems_of(x: np.ndarray, counts: np.ndarray, k: int, arm: str, task: str) -> pl.DataFrame:
    """Rows of problems.parquet from counts [seeds, budgets, problems]."""
    n, budgets, problems = counts.shape
    return pl.DataFrame(
        {
            "run_id": np.repeat([f"{arm}-{i}" for i in range(n)], budgets * problems),
            "x": np.tile(np.repeat(x, problems), n),
            "task": task,
            "problem": np.tile(np.arange(problems).astype(str), n * budgets),
            "k": k,
            "n_correct": counts.reshape(-1),
        }
    )


def timed(folder: Path) -> tuple[float, float]:
    """(wall, CPU) seconds of the analysis of a study folder, every resampling and the report included."""
    began, cpu = time.monotonic(), time.process_time()
    analyze(folder, folder, default_options())
    return time.monotonic() - began, time.process_time() - cpu


def main(arguments: list[str]) -> None:
    given = {"tasks": "20", "arms": "8", "seeds": "10", "budgets": "12", "problems": "64", "seed": "0"}
    given |= dict(argument.split("=", 1) for argument in arguments)
    sizes = {name: int(given[name]) for name in ("arms", "seeds", "budgets", "problems", "seed")}
    design = Design(seeds=sizes["seeds"], budgets=sizes["budgets"], problems=sizes["problems"])
    for tasks in (int(number) for number in given["tasks"].split(",")):
        folder = Path(given["out"]) / f"tasks-{tasks}"
        folder.mkdir(parents=True, exist_ok=True)
        table, problems = study_tables(sizes["arms"], tasks, design, sizes["seed"])
        table.write_parquet(folder / "table.parquet")
        problems.write_parquet(folder / "problems.parquet")
        wall, cpu = timed(folder)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(
            f"{tasks} tasks, {table.height:,} rows, {problems.height:,} problem rows: {cpu:.1f} s of CPU, "
            f"{wall:.1f} s on the clock, at most {memory:.1f} GB",
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
