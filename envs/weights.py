"""How often each of many tasks is drawn: weights spread on purpose, so that the times at which they are learned are."""

import numpy as np


def distributed_weights(distribution: str, n: int, decades: float) -> tuple[float, ...]:
    """Weights of n tasks in their order, the first 1: uniform, whatever the decades; log_uniform, down over so many
    decades, each task by the same factor rarer than the one before; two_clusters, the first half (the larger, if one
    is) at 1, the others so many decades rarer. Raises KeyError for another distribution."""
    weights = {
        "uniform": np.ones(n),
        "log_uniform": np.logspace(0, -decades, n),
        "two_clusters": np.where(np.arange(n) < (n + 1) // 2, 1.0, 10.0**-decades),
    }
    return tuple(weights[distribution].tolist())
