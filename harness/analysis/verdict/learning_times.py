"""When each cell is learned: the budget at half of its own rise, for each replicate, and the pool rebuilt from that.

Unshared skills whose learning times are spread log-uniformly over d decades give a pool that is a line of slope
rise / d; skills learned at one time give a sigmoid.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from harness.analysis.data.arrays import Array
from harness.analysis.data.crossing import crossing
from harness.analysis.data.curves import Curves
from harness.analysis.stats.censored import Times, log_uniform_spread
from harness.analysis.stats.formatting import counted
from harness.analysis.stats.slopes import slope_weights

FEWEST_CELLS, FEWEST_BUDGETS = 3, 2
NOISE_FACTOR = 4.0  # standard errors of a difference that a rise must exceed to have a learning time
STILL_RISING = 0.1  # share of a rise that, gained between the last two budgets beyond two standard errors, goes on
LOG_UNIFORM_WITHIN = 0.1  # largest distance in share at which the times count as spread log-uniformly


@dataclass(frozen=True)
class CellTimes:
    """Learning times of one cell, [n] each: log10 x at half and at nine tenths of the rise (NaN: none; the first budget
    if before it), whether the half lies before the first budget, whether the cell still rises at the last one, where
    half of its rise is not known, and the levels before and after."""

    half: Array
    ninety: Array
    early: NDArray[np.bool_]
    unfinished: NDArray[np.bool_]
    start: Array
    end: Array


def learning_times(parts: Mapping[tuple, Curves], pool: Curves, margin: float) -> dict | None:
    """The learning times of a pool's cells, their spread and the pool rebuilt from steps; None below three cells
    or two budgets. Cells that no replicate learned are counted, and not listed in `by_cell`.

    parts: cell (task, difficulty, setting) -> its curves; those of other budgets or replicates than the pool's are left
    out. A cell that does not rise by the margin, or within its noise, has no learning time: it is censored (late), as
    is one that still rises at the last budget.
    """
    alike = {cell: part for cell, part in parts.items() if part.same_block(pool)}
    if len(alike) < FEWEST_CELLS or len(pool.x) < FEWEST_BUDGETS:
        return None
    z = np.log10(pool.x)
    learned = {cell: cell_times(part, margin) for cell, part in alike.items()}
    times = _times(list(learned.values()), z)
    spread = log_uniform_spread(times)
    rebuilt = pooled_mean(list(alike.values()), [_steps(one, z) for one in learned.values()])
    measured, weights = pool.accuracy.mean(0), slope_weights(z)
    gain = float(np.ptp(measured))
    record = {
        "cells": len(alike),
        "replicates": len(pool.accuracy),
        "observed": int(times.observed.sum()),
        "early": int(times.early.sum()),
        "late": int(times.late.sum()),
        "spread_decades": spread.decades if spread else None,
        "log_uniform_distance": spread.distance if spread else None,
        "predicted_slope": _observed_rise(list(learned.values())) / spread.decades if spread else None,
        "rebuilt": {
            "mean": rebuilt.tolist(),
            "slope": float(rebuilt @ weights),
            "slope_measured": float(measured @ weights),
            "deviation": float(np.sqrt(np.mean((rebuilt - measured) ** 2)) / gain) if gain > 0 else None,
        },
        "by_cell": [_cell_record(cell, one) for cell, one in learned.items() if np.isfinite(one.half).any()],
    }
    return record | {"sentence": sentence(record)}


def cell_times(part: Curves, margin: float) -> CellTimes:
    """Learning times of one cell, from each replicate's curve made monotone (isotonic least squares)."""
    z, n = np.log10(part.x), len(part.accuracy)
    half, ninety, start, end = (np.full(n, np.nan) for _ in range(4))
    early, unfinished = np.zeros(n, bool), np.zeros(n, bool)
    for i in range(n):
        before = part.r0[i] if np.isfinite(part.r0[i]) else part.accuracy[i, 0]
        monotone = isotonic_regression(np.concatenate([[before], part.accuracy[i]])).x
        start[i], end[i] = monotone[0], monotone[-1]
        noise = NOISE_FACTOR * np.sqrt(part.noise[i, 0] + part.noise[i, -1])
        if end[i] - start[i] > max(margin, noise):
            levels = [start[i] + share * (end[i] - start[i]) for share in (0.5, 0.9)]
            half[i], ninety[i] = (max(z[0], crossing(z, monotone[1:], level)) for level in levels)
            early[i] = bool(half[i] <= z[0])
            last = 2 * np.sqrt(part.noise[i, -2:].sum())
            unfinished[i] = monotone[-1] - monotone[-2] > max(STILL_RISING * (end[i] - start[i]), last)
        else:
            start[i] = end[i] = part.accuracy[i].mean()
    return CellTimes(half, ninety, early, unfinished, start, end)


def pooled_mean(parts: Sequence[Curves], values: Sequence[Array]) -> Array:
    """Mean over tasks of the mean over their cells: the weights of the pool."""
    tasks = [part.tasks for part in parts]
    each = [np.mean([v for v, own in zip(values, tasks) if own == task], 0) for task in dict.fromkeys(tasks)]
    return np.mean(each, 0)


def _times(learned: list[CellTimes], z: Array) -> Times:
    """All cells and replicates together; cells without a learning time or unfinished are late, at the last budget."""
    half, early = (np.concatenate([getattr(one, name) for one in learned]) for name in ("half", "early"))
    late = ~np.isfinite(half) | (np.concatenate([one.unfinished for one in learned]) & ~early)
    return Times(np.where(late, z[-1], half), early, late)


def _steps(one: CellTimes, z: Array) -> Array:
    """[K] mean over replicates of curves that step from their start to their end at the learning time."""
    reached = z >= np.where(np.isfinite(one.half), one.half, np.inf)[:, None]
    return np.where(reached, one.end[:, None], one.start[:, None]).mean(0)


def _observed_rise(learned: list[CellTimes]) -> float:
    """Mean rise of the cells and replicates whose learning time is observed."""
    rises = [(one.end - one.start)[np.isfinite(one.half) & ~one.early & ~one.unfinished] for one in learned]
    return float(np.concatenate(rises).mean())


def _cell_record(cell: tuple, one: CellTimes) -> dict:
    names = dict(zip(("task", "difficulty", "setting"), cell))
    x = {
        name: [float(f"{10**t:.5g}") if np.isfinite(t) else None for t in getattr(one, name)]
        for name in ("half", "ninety")
    }
    return {**names, "x_half": x["half"], "x_ninety": x["ninety"], "early": one.early.tolist()}


def sentence(record: dict) -> str:
    """What the learning times explain of the pool."""
    shares = f"{record['observed']} observed, {record['early']} before the first budget, {record['late']} not within it"
    cells, replicates = counted(record["cells"], "cell"), counted(record["replicates"], "replicate")
    text = f"Learning times of {cells} in {replicates} ({shares})"
    if record["spread_decades"] is None:
        text += ": too few to measure their spread"
    else:
        form = "log-uniformly" if record["log_uniform_distance"] <= LOG_UNIFORM_WITHIN else "but not log-uniformly"
        text += f" are spread {form} over {record['spread_decades']:.1f} decades"
    rebuilt = record["rebuilt"]
    if not record["observed"] or rebuilt["deviation"] is None:
        return text + "."
    return (
        f"{text}; steps at these times rebuild the pool to {rebuilt['deviation']:.2f} of its gain, with slope"
        f" {rebuilt['slope']:+.3f} beside {rebuilt['slope_measured']:+.3f} measured."
    )
