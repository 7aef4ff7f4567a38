"""Whether curves can be put beside one another."""

import numpy as np

from harness.analysis.data.curves import Curves


def same_block(one: Curves, other: Curves) -> bool:
    """Whether both are of the same replicates at the same budgets."""
    same_x = one.x.shape == other.x.shape and np.allclose(one.x, other.x, rtol=1e-6)
    return same_x and (one.seeds, one.bases) == (other.seeds, other.bases)
