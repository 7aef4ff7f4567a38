"""When each cell is learned: the budget at half of its own rise, for each replicate, and the pool rebuilt from that.

Unshared skills whose learning times are spread log-uniformly over d decades give a pool that is a line of slope
rise / d; skills learned at one time give a sigmoid. Times before or beyond the budgets are censored: their quantiles
are those of Kaplan and Meier (J. Am. Stat. Assoc. 53, 1958).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from harness.analysis.data.arrays import Array
from harness.analysis.data.crossing import crossing
from harness.analysis.data.curves import Curves
from harness.analysis.stats.formatting import counted
from harness.analysis.stats.slopes import slope_weights

LOWER, UPPER = 0.1, 0.9  # shares between which the spread is measured, as far as they are observed
FEWEST_TIMES = 5  # observed times below which no spread is estimated
FEWEST_SHARE = 0.25  # of all times, that the observed ones must cover: a smaller part does not fix the whole width
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


@dataclass(frozen=True)
class Times:
    """n log10 times, each observed, early or late (censored).

    log10: [n]; of an early one the value it does not exceed, of a late one the value it exceeds. early, late: [n].
    """

    log10: Array
    early: NDArray[np.bool_]
    late: NDArray[np.bool_]

    @property
    def observed(self) -> NDArray[np.bool_]:
        return ~(self.early | self.late)


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
    decades, distance = log_uniform_spread(times) or (None, None)
    rebuilt = pooled_mean(list(alike.values()), [_steps(one, z) for one in learned.values()])
    measured, weights = pool.accuracy.mean(0), slope_weights(z)
    gain = float(np.ptp(measured))
    record = {
        "cells": len(alike),
        "replicates": len(pool.accuracy),
        "observed": int(times.observed.sum()),
        "early": int(times.early.sum()),
        "late": int(times.late.sum()),
        "spread_decades": decades,
        "log_uniform_distance": distance,
        "predicted_slope": _observed_rise(list(learned.values())) / decades if decades else None,
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
    x = [[float(f"{10**t:.5g}") if np.isfinite(t) else None for t in times] for times in (one.half, one.ninety)]
    names = dict(zip(("task", "difficulty", "setting"), cell))
    return {**names, "x_half": x[0], "x_ninety": x[1], "early": one.early.tolist()}


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


def kaplan_meier(times: Times) -> tuple[Array, Array]:
    """(distinct log10 times at which something occurred [m], share of all that have occurred by then [m])."""
    at = np.unique(times.log10[~times.late])
    at_risk = np.array([np.sum(times.log10 >= t) for t in at])
    events = np.array([np.sum(~times.late & (times.log10 == t)) for t in at])
    return at, 1.0 - np.cumprod(1.0 - events / np.maximum(at_risk, 1))


def log_uniform_spread(times: Times) -> tuple[float, float] | None:
    """Width in decades of the log-uniform distribution fitted to the observed times, and the largest distance in share
    between the two; None with too few observed (in number or share), or all at one place.

    The Kaplan-Meier curve between the shares LOWER and UPPER is fitted by a line, log10 time on share; its slope is the
    width. Early and late times shift the shares of the others and are not fitted.
    """
    at, share = kaplan_meier(times)
    if not len(at):
        return None
    middle = share - np.diff(np.concatenate([[0.0], share])) / 2  # of each step
    exact = np.isin(at, times.log10[times.observed]) & ~np.isin(at, times.log10[times.early])
    fitted = exact & (middle >= LOWER) & (middle <= UPPER)
    if fitted.sum() < FEWEST_TIMES or np.ptp(middle[fitted]) < FEWEST_SHARE or np.ptp(at[fitted]) == 0:
        return None
    decades, first = np.polyfit(middle[fitted], at[fitted], 1)
    straight = (at[fitted] - first) / decades
    return float(decades), float(np.max(np.abs(straight - middle[fitted])))
