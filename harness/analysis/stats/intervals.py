"""Intervals over replicates. With 5 to 8 seeds a percentile bootstrap of a mean covers .83 to .90; t covers .95."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from harness.analysis.data.arrays import Array


@dataclass(frozen=True)
class Estimate:
    """Mean over n replicates of one linear quantity; sd is the spread of one replicate (NaN for a single one)."""

    mean: float
    sd: float
    n: int

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return self.sd / np.sqrt(self.n)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Two-sided t-interval; (-inf, inf) for a single replicate, which bounds nothing."""
        if self.n < 2:
            return -np.inf, np.inf
        half = float(stats.t.ppf(0.5 + level / 2, self.n - 1)) * self.error
        return self.mean - half, self.mean + half

    def p_above(self, value: float = 0.0) -> float:
        """One-sided p of "the mean is at most value"; 1 for a single replicate."""
        if self.n < 2:
            return 1.0
        if self.error == 0.0:
            return 0.0 if self.mean > value else 1.0
        return float(stats.t.sf((self.mean - value) / self.error, self.n - 1))

    def p_below(self, value: float = 0.0) -> float:
        """One-sided p of "the mean is at least value"."""
        return Estimate(-self.mean, self.sd, self.n).p_above(-value)

    def p_equivalent(self, margin: float) -> float:
        """p of "the mean lies outside +-margin": two one-sided tests."""
        return max(self.p_below(margin), self.p_above(-margin))


def estimate(values: Array) -> Estimate:
    """Mean and spread of per-replicate values [n]."""
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else np.nan
    return Estimate(float(np.mean(values)), sd, len(values))


def jackknife_t(whole: float, left_out: Array, level: float = 0.95) -> tuple[float, float]:
    """Interval from delete-one-replicate estimates [n], on the scale given (Tukey's pseudo-values)."""
    n = len(left_out)
    return estimate(n * whole - (n - 1) * left_out).interval(level)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given (Scandinavian Journal of Statistics 6, 1979)."""
    order = np.argsort(p)
    stepped = [min(1.0, p[i] * (len(p) - rank)) for rank, i in enumerate(order)]
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(stepped) if stepped else []
    return adjusted.tolist()
