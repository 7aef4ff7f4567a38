"""Where a curve that never falls reaches a level."""

import numpy as np

from harness.analysis.data.arrays import Array


def crossing(z: Array, rising: Array, level: float) -> float:
    """z at which the curve `rising` [K] first reaches the level, linear between its places z [K]; -inf where it has at
    the first of them, inf where it does at none."""
    k = int(np.searchsorted(rising, level))
    if k == 0 or k == len(z):
        return -np.inf if k == 0 else np.inf
    share = (level - rising[k - 1]) / (rising[k] - rising[k - 1])
    return float(z[k - 1] + share * (z[k] - z[k - 1]))
