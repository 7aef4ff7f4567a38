"""The mixture artefact: a pool that is near-linear though its cells are not."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from harness.analysis.data.curves import Array, Curves
from harness.analysis.stats.covariance import mean_curve
from harness.analysis.stats.fitting import fit
from harness.analysis.stats.intervals import estimate
from harness.analysis.stats.laws import LAWS
from harness.analysis.stats.slopes import slopes


def mixture_artefact(pool: Curves, parts: Sequence[Curves]) -> dict | None:
    """Whether a line is only the sum of cells that are not lines themselves; None below three cells.

    A cell is linear if chi-squared does not reject its line at 5% and its slope interval meets half to twice the
    pool's slope. Flagged when most cells are not linear and the mean of their hill fits stays within two standard
    errors of the pool, at every budget but one in ten.
    """
    parts = [part for part in parts if np.array_equal(part.x, pool.x) and part.accuracy.shape == pool.accuracy.shape]
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


def pooled_mean(parts: Sequence[Curves], values: Sequence[Array]) -> Array:
    """Mean over tasks of the mean over their cells: the weights of the pool."""
    tasks = [part.tasks for part in parts]
    each = [np.mean([v for v, own in zip(values, tasks) if own == task], 0) for task in dict.fromkeys(tasks)]
    return np.mean(each, 0)
