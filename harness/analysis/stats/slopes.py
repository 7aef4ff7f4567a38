"""Least-squares slopes of accuracy per decade, per replicate, over the whole log window and in its thirds.

Slopes are linear in the accuracies, so t-intervals over replicates hold whatever the covariance between budgets.
"""

from dataclasses import dataclass

import numpy as np

from harness.analysis.data.arrays import Array
from harness.analysis.stats.intervals import Estimate, estimate


@dataclass(frozen=True)
class Slopes:
    """Per-replicate least-squares slopes per decade. overall: [n]; thirds: [n, 3]; widths: [3] decades each."""

    overall: Array
    thirds: Array
    widths: Array
    decades: float

    @property
    def rise(self) -> Estimate:
        """Rise over the window: the overall slope times its decades."""
        return estimate(self.overall * self.decades)

    def third_rise(self, i: int) -> Estimate:
        return estimate(self.thirds[:, i] * self.widths[i])

    def contrast(self, i: int, j: int, ratio: float) -> Estimate:
        """b_i - ratio * b_j."""
        return estimate(self.thirds[:, i] - ratio * self.thirds[:, j])


def thirds(z: Array) -> list[slice]:
    """Budgets of each third of the log window; neighbours share the budget nearest to their boundary."""
    first, second = (int(np.argmin(np.abs(z - (z[0] + share * (z[-1] - z[0]))))) for share in (1 / 3, 2 / 3))
    first = min(max(first, 1), len(z) - 3)
    second = min(max(second, first + 1), len(z) - 2)
    return [slice(0, first + 1), slice(first, second + 1), slice(second, len(z))]


def slope_weights(z: Array) -> Array:
    """[K] weights whose product with the values is their least-squares slope."""
    centred = z - z.mean()
    return centred / np.sum(centred**2)


def slopes(z: Array, values: Array) -> Slopes:
    """Slopes of values [n, K] at z [K] ascending; thirds are NaN below four budgets, all of them below two."""
    n, k = values.shape
    overall = values @ slope_weights(z) if k > 1 else np.full(n, np.nan)
    if k < 4:
        return Slopes(overall, np.full((n, 3), np.nan), np.full(3, np.nan), float(z[-1] - z[0]))
    parts = thirds(z)
    each = np.stack([values[:, part] @ slope_weights(z[part]) for part in parts], 1)
    widths = np.array([z[part][-1] - z[part][0] for part in parts])
    return Slopes(overall, each, widths, float(z[-1] - z[0]))
