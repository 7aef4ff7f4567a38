"""Whole study tables with planted truth, for tests: arms x seeds x tasks x budgets, every column of the run table."""

from collections.abc import Mapping

import numpy as np
import polars as pl

from harness.analysis.data.table import Table, check_table

BUDGETS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256)
FAMILIES = ("addition", "reversal", "sorting")
STARRED = ["run_id", "arm", "seed", "task", "role", "x", "n_problems", "k", "n_correct"]
# rise of verified and unverified accuracy over the window, by arm
QUICKSTART = {"true_reward": (0.2, 0.12), "shuffled_within_group": (0.01, 0.01), "frozen": (0.0, 0.0)}


def study_frame(
    rises: Mapping[str, tuple[float, float]] = QUICKSTART,
    seeds: int = 4,
    budgets: tuple[int, ...] = BUDGETS,
    problems: int = 256,
    seed_sd: float = 0.01,
    bases: int = 1,
    rng_seed: int = 0,
) -> pl.DataFrame:
    """Rows of a study in which accuracy rises linearly in log2(budget + 1), the same for all tasks of a role."""
    rng = np.random.default_rng(rng_seed)
    own = rng.normal(scale=seed_sd, size=seeds)
    rows = []
    for arm, by_role in rises.items():
        for seed in range(seeds):
            wobble = rng.normal(scale=seed_sd)
            for context, role, rise in (("symbolic", "verified", by_role[0]), ("worded", "unverified", by_role[1])):
                role = "verified" if arm == "direct" else role
                for family in FAMILIES:
                    for difficulty in (1, 2, 3):
                        share = np.log2(np.array(budgets) + 1) / np.log2(max(budgets) + 1)
                        start = 0.55 - 0.1 * difficulty + own[seed]
                        p = np.clip(start + (rise + wobble * (rise != 0)) * share, 0.01, 0.99)
                        correct = rng.binomial(problems, p)
                        rows += [
                            _row(arm, seed, bases, family, context, role, difficulty, budget, problems, int(c))
                            for budget, c in zip(budgets, correct)
                        ]
    return pl.DataFrame(rows)


def _row(arm, seed, bases, family, context, role, difficulty, budget, problems, correct) -> dict:
    return {
        "study": "test", "run_id": f"{arm}-{seed}", "arm": arm, "seed": seed, "base_id": f"base{seed % bases}",
        "model_params": 100_000, "task": f"{family}_{context}", "family": family, "context": context,
        "difficulty": difficulty, "role": role, "split": "test", "x": budget * 2.4e9, "step": budget,
        "completions": budget * 256, "tokens": budget * 6000, "flops": budget * 3e9, "seconds": budget * 0.3,
        "n_problems": problems, "k": 1, "n_correct": correct, "n_correct_sq": correct,
        "pass_at_4": 1 - (1 - correct / problems) ** 4,
    }  # fmt: skip


def starred(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with the required columns alone, difficulties summed."""
    counts = ["n_problems", "n_correct"]
    names = [name for name in STARRED if name not in counts]
    return frame.group_by(names, maintain_order=True).agg(pl.col(counts).sum())


def study_table(**changes) -> Table:
    """A checked table of `study_frame(**changes)`."""
    return check_table(study_frame(**changes))
