"""How often each of many tasks is drawn: weights spread on purpose, so that the times at which they are learned are."""

import numpy as np


def uniform(n: int, decades: float) -> np.ndarray:
    """All alike, whatever the decades."""
    return np.ones(n)


def log_uniform(n: int, decades: float) -> np.ndarray:
    """From 1 down over so many decades, each task by the same factor rarer than the one before."""
    return np.logspace(0, -decades, n)


def two_clusters(n: int, decades: float) -> np.ndarray:
    """The first half (the larger, if one is) at 1, the others so many decades rarer."""
    return np.where(np.arange(n) < (n + 1) // 2, 1.0, 10.0**-decades)


DISTRIBUTIONS = {"uniform": uniform, "log_uniform": log_uniform, "two_clusters": two_clusters}


def distributed_weights(distribution: str, n: int, decades: float) -> tuple[float, ...]:
    """Weights of n tasks in their order, the first 1. Raises KeyError for an unknown distribution."""
    return tuple(DISTRIBUTIONS[distribution](n, decades).tolist())
