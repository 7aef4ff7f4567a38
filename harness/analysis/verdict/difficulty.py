"""Difficulty and base success of a pool's cells: budget to a threshold against difficulty, gain against base success.

Difficulty: T = T_1 D^gamma (arXiv 2605.06638), T the budget at which a task's accuracy at difficulty D reaches a
threshold; its inverse, the largest difficulty solved at a budget, is a curve without a ceiling.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from harness.analysis.data.arrays import Array
from harness.analysis.data.curves import Curves
from harness.analysis.data.difficulty_times import FEWEST_DIFFICULTIES, THRESHOLD, gamma, is_difficulty, threshold_times
from harness.analysis.stats.contrasts import mean_record
from harness.core.groups import signal_share


def difficulty_scaling(parts: Mapping[tuple, Curves]) -> list[dict]:
    """One record per task with several numeric difficulties, some of them solved: gamma with its interval over
    replicates, from the difficulties that every replicate solved within the window, and the largest difficulty solved
    at each budget.

    parts: cell (task, difficulty, setting) -> its curves.
    """
    found = []
    for task, setting in dict.fromkeys((cell[0], cell[2]) for cell in parts):
        alike = {cell[1]: part for cell, part in parts.items() if (cell[0], cell[2]) == (task, setting)}
        own = {float(name): alike[name] for name in sorted(filter(is_difficulty, alike), key=float)}
        own = {name: part for name, part in own.items() if part.same_block(next(iter(own.values())))}
        if len(own) < FEWEST_DIFFICULTIES:
            continue
        difficulties, each = np.array(list(own)), list(own.values())
        largest = largest_solved(each, difficulties).mean(0)
        if not largest.any():
            continue
        times = np.stack([threshold_times(np.log10(part.x), part.accuracy) for part in each], 1)
        solved = np.isfinite(times).all(0)
        enough = solved.sum() >= FEWEST_DIFFICULTIES and len(times) > 1
        found.append(
            {
                "task": task,
                "setting": setting,
                "threshold": THRESHOLD,
                "difficulties": difficulties.tolist(),
                "used": difficulties[solved].tolist(),
                "gamma": mean_record(gamma(times[:, solved], difficulties[solved])) if enough else None,
                "x": each[0].x.tolist(),
                "largest_solved": largest.tolist(),
            }
        )
    return found


def largest_solved(parts: Sequence[Curves], difficulties: Array) -> Array:
    """[n, K] largest difficulty at or above the threshold, 0 for none."""
    solved = np.stack([part.accuracy >= THRESHOLD for part in parts])
    return np.max(np.where(solved, difficulties[:, None, None], 0.0), 0)


def gain_by_base_success(parts: Mapping[tuple, Curves], group_size: int | None) -> list[dict]:
    """One record per cell evaluated before RL: base success, gain over the window, and the share of groups that can
    carry signal, 1 - q^G - (1 - q)^G (None where the group size is not in the table)."""
    found = []
    for (task, difficulty, setting), part in parts.items():
        if not np.isfinite(part.r0).all():
            continue
        base, gain = float(part.r0.mean()), mean_record(part.accuracy[:, -1] - part.r0)
        found.append(
            {
                "task": task,
                "difficulty": difficulty,
                "setting": setting,
                "base_success": base,
                "gain": {name: gain[name] for name in ("mean", "low", "high")},
                "signal_share": None if group_size is None else signal_share(base, group_size),
            }
        )
    return found
