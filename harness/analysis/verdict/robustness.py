"""Checks reported beside a verdict: warm-up cuts, other scales, mixture artefact, negative controls, left-out tasks."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from scipy import special, stats

from harness.analysis.data.curves import Curves
from harness.analysis.data.options import Options
from harness.analysis.stats.covariance import mean_curve
from harness.analysis.stats.fitting import fit
from harness.analysis.stats.intervals import Estimate, estimate
from harness.analysis.stats.laws import LAWS
from harness.analysis.stats.slopes import Slopes, slopes
from harness.analysis.verdict.learning_times import pooled_mean
from harness.analysis.verdict.rules import judge, wide_enough

RISE_CLAIMS = ("log_linear", "saturating", "accelerating", "sigmoidal")  # verdicts that claim a rise
CUTS = (1.0, 2.0, 4.0)  # times the warm-up; the main window starts at the second


def shape_of(curves: Curves, margin: float) -> str:
    """The verdict of the slopes alone, without the rejections that a log-linear verdict needs besides."""
    if len(curves.x) < 4 or len(curves.accuracy) < 2:
        return "insufficient_data"
    return judge(slopes(np.log10(curves.x), curves.accuracy), margin).verdict


def warmup_cuts(curves: Curves, options: Options) -> dict[str, str] | None:
    """Shape with the window starting at 1, 2 and 4 times the warm-up, each keeping the decades a verdict needs."""
    if options.warmup <= 0:
        return None
    cuts = {f"{cut:g}x": curves.between(cut * options.warmup) for cut in CUTS}
    kept = {
        name: cut for name, cut in cuts.items() if wide_enough(cut.decades, options.min_decades) and len(cut.x) >= 4
    }
    return {name: shape_of(cut, options.margin) for name, cut in kept.items()}


def other_scales(curves: Curves) -> dict[str, str]:
    """Shape of logit(R) and of -log10(1 - R): the claim is about accuracy, and need not hold on these."""
    completions = np.maximum(curves.accuracy * (1 - curves.accuracy) / np.maximum(curves.noise, 1e-9), 2.0)
    inside = np.clip(curves.accuracy, 0.5 / completions, 1 - 0.5 / completions)
    scales = {"logit": special.logit(inside), "error": -np.log10(1 - inside)}
    return {name: shape_of(replace(curves, accuracy=values), 0.0) for name, values in scales.items()}


def mixture_artefact(pool: Curves, cells: Mapping[tuple, Curves]) -> dict | None:
    """Whether a line is only the sum of cells that are not lines themselves; None below three cells.

    A cell is linear if chi-squared does not reject its line at 5% and its slope interval meets half to twice the
    pool's slope. Flagged when most cells are not linear and the mean of their hill fits stays within two standard
    errors of the pool, at every budget but one in ten.
    """
    parts = [
        part for part in cells.values() if np.array_equal(part.x, pool.x) and part.accuracy.shape == pool.accuracy.shape
    ]
    if len(parts) < 3 or len(pool.accuracy) < 2:
        return None
    z = np.log10(pool.x)
    slope = float(np.mean(slopes(z, pool.accuracy).overall))
    linear, fitted = 0, []
    for part in parts:
        mean = mean_curve(part)
        own = estimate(slopes(z, part.accuracy).overall).interval()
        straight = stats.chi2.sf(fit(LAWS["log_linear"], mean).chi2[0], len(z) - 2) > 0.05
        linear += bool(straight and own[1] > 0.5 * slope and own[0] < 2 * slope)
        fitted.append(fit(LAWS["hill"], mean).predict(z)[0])
    error = pool.accuracy.std(0, ddof=1) / np.sqrt(len(pool.accuracy))
    off = np.abs(pooled_mean(parts, fitted) - pool.accuracy.mean(0)) > 2 * np.maximum(error, 0.002)
    reproduced = bool(np.mean(off) <= 0.1)
    return {
        "cells": len(parts),
        "linear_cells": linear,
        "reproduces_pool": reproduced,
        "flag": reproduced and 2 * linear < len(parts),
    }


def collapsed_share(curves: Curves) -> float:
    """Share of replicates that end below half of their own best (by more than .05); they stay in."""
    best = curves.accuracy.max(1)
    return float(np.mean((curves.accuracy[:, -1] < 0.5 * best) & (best - curves.accuracy[:, -1] > 0.05)))


def leave_one_task_out(
    per_task: Mapping[str, Curves], pool_of: Callable[[list[str]], Curves], margin: float
) -> dict | None:
    """The pool's shape without each task, and how well the other tasks' mean slope predicts the one left out.

    per_task: each task's curves. pool_of: tasks -> their pooled curves, which is called where the tasks' replicates or
    budgets differ; else the pool is their mean. slope_rmse is relative to the mean slope.
    """
    if len(per_task) < 3:
        return None
    parts = list(per_task.values())
    alike = all(part.same_block(parts[0]) for part in parts)

    def without(left_out: str) -> Curves:
        kept = [name for name in per_task if name != left_out]
        if not alike:
            return pool_of(kept)
        return replace(parts[0], accuracy=np.mean([per_task[name].accuracy for name in kept], 0))

    slope = {name: float(np.mean(slopes(np.log10(c.x), c.accuracy).overall)) for name, c in per_task.items()}
    total = sum(slope.values())
    errors = [value - (total - value) / (len(slope) - 1) for value in slope.values()]
    mean = total / len(slope)
    return {
        "shapes": {name: shape_of(without(name), margin) for name in per_task},
        "slope_rmse": float(np.sqrt(np.mean(np.square(errors))) / abs(mean)) if mean else None,
    }


def leave_one_size_out(slope_by_size: Mapping[int, float]) -> dict[int, dict] | None:
    """Each size's slope predicted by a line in log parameters through the other sizes; None below three sizes."""
    if len(slope_by_size) < 3:
        return None
    sizes = np.array(sorted(slope_by_size))
    values = np.array([slope_by_size[size] for size in sizes])
    found = {}
    for i, size in enumerate(sizes):
        rest = np.arange(len(sizes)) != i
        line = np.polyfit(np.log10(sizes[rest]), values[rest], 1)
        predicted = float(np.polyval(line, np.log10(size)))
        found[int(size)] = {"predicted_slope": predicted, "slope": float(values[i])}
    return found


def compare_with_controls(arm: Curves, controls: Mapping[str, Curves]) -> tuple[dict[str, dict], list[str]]:
    """Per control its rise and the arm's slope minus its; and the reasons to withhold a claim, if any.

    Slopes are paired by (base, seed) where both have it. Withhold where the difference is not above 0, or where the
    control itself rises significantly by more than a quarter of the arm's rise.
    """
    own = slopes(np.log10(arm.x), arm.accuracy)
    found, reasons = {}, []
    for name, control in controls.items():
        theirs = slopes(np.log10(control.x), control.accuracy)
        difference = slope_difference(arm, own, control, theirs)
        low, high = difference.interval()
        rise = theirs.rise
        found[name] = {
            "slope_difference": difference.mean,
            "slope_difference_ci": [low, high],
            "rise": rise.mean,
            "rise_ci": list(rise.interval()),
        }
        if low <= 0:
            reasons.append(f"its slope is not above that of {name} (difference {low:.3f} to {high:.3f} a decade)")
        if rise.interval()[0] > 0 and rise.mean > 0.25 * own.rise.mean:
            reasons.append(f"the control {name} rises too, by {rise.mean:.3f}")
    return found, reasons


def slope_difference(arm: Curves, own: Slopes, control: Curves, theirs: Slopes) -> Estimate:
    """Arm minus control slope: paired replicates if at least two are shared, else Welch with the smaller n."""
    places = {unit: i for i, unit in enumerate(zip(control.bases, control.seeds))}
    pairs = [(i, places[unit]) for i, unit in enumerate(zip(arm.bases, arm.seeds)) if unit in places]
    if len(pairs) >= 2:
        mine, other = (list(side) for side in zip(*pairs))
        return estimate(own.overall[mine] - theirs.overall[other])
    a, b = estimate(own.overall), estimate(theirs.overall)
    n = min(a.n, b.n)
    return Estimate(a.mean - b.mean, float(np.hypot(a.error, b.error) * np.sqrt(n)), n)
