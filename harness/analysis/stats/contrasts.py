"""Contrasts between arms: records of estimates, ratios with Fieller's interval, tasks or problems as replicates."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from harness.analysis.data.arrays import Array
from harness.analysis.data.json_files import strict
from harness.analysis.stats.intervals import estimate, holm

LEVEL = 0.95


@dataclass(frozen=True)
class Ratio:
    """A ratio of two means with its interval, or None and the reason why it is not reported."""

    value: float | None
    low: float | None
    high: float | None
    reason: str

    def record(self) -> dict[str, Any]:
        return asdict(self)

    def inside(self, margin: float) -> bool:
        """Whether the interval lies within +-margin."""
        return self.low is not None and self.high is not None and -margin < self.low and self.high < margin


def mean_record(values: Array) -> dict[str, Any]:
    """Mean over replicates [n] with its 95% t-interval and two-sided p, as strict JSON (None: not estimated)."""
    e = estimate(values)
    low, high = e.interval(LEVEL)
    p = min(1.0, 2 * min(e.p_above(), e.p_below()))
    return strict({"mean": e.mean, "low": low, "high": high, "p": p, "n": e.n})


def add_holm(records: Sequence[dict[str, Any]], name: str = "p") -> None:
    """Gives each record the Holm-adjusted p among them of its p `name`."""
    for one, p in zip(records, holm([one[name] for one in records])):
        one[f"{name}_holm"] = p


def fieller_ratio(numerator: Array, denominator: Array, level: float = LEVEL) -> Ratio:
    """mean(numerator) / mean(denominator) over replicates [n], paired (Fieller, J. R. Stat. Soc. B 16, 1954).

    Not reported where the denominator's own interval covers 0: the ratio is then unbounded, whatever its value.
    """
    n = len(numerator)
    if n < 2:
        return Ratio(None, None, None, "one replicate bounds nothing")
    a, b = float(np.mean(numerator)), float(np.mean(denominator))
    (v_aa, v_ab), (_, v_bb) = np.cov(numerator, denominator) / n
    t2 = float(stats.t.ppf(0.5 + level / 2, n - 1)) ** 2
    if b * b <= t2 * v_bb:
        return Ratio(None, None, None, "the denominator's interval covers 0")
    if b < 0:
        return Ratio(None, None, None, "the denominator is negative")
    leading, middle, constant = b * b - t2 * v_bb, a * b - t2 * v_ab, a * a - t2 * v_aa
    half = np.sqrt(max(middle**2 - leading * constant, 0.0))
    return Ratio(a / b, float((middle - half) / leading), float((middle + half) / leading), "")


def two_way_record(values: Array) -> dict[str, Any]:
    """Mean of values [n, M] when replicates and columns (tasks, problems) are both draws from a population.

    The variance is that of the row means over n plus that of the column means over M, which counts the residual twice
    and so errs wide; Satterthwaite degrees of freedom. With few seeds and tasks this t-interval covers .95 to .99
    where resampling both with replacement covers .76 to .93 (3 to 20 tasks, 4 to 8 seeds). One row or column: None.
    """
    n, m = values.shape
    mean = float(np.mean(values))
    if n < 2 or m < 2:
        return strict({"mean": mean, "low": None, "high": None, "p": 1.0, "n": n, "columns": m})
    rows, columns = values.mean(1).var(ddof=1) / n, values.mean(0).var(ddof=1) / m
    error, freedom = sum_of_variances(rows, n - 1, columns, m - 1)
    # With two or three rows Satterthwaite's interval can come out narrower than the one for these columns alone.
    half = max(stats.t.ppf(0.5 + LEVEL / 2, freedom) * error, stats.t.ppf(0.5 + LEVEL / 2, n - 1) * np.sqrt(rows))
    p = 2 * stats.t.sf(abs(mean) / error, freedom) if error > 0 else float(mean == 0)
    return {"mean": mean, "low": float(mean - half), "high": float(mean + half), "p": float(p), "n": n, "columns": m}


def sum_of_variances(first: float, first_freedom: float, second: float, second_freedom: float) -> tuple[float, float]:
    """Standard error of a sum of two independent variances, and Satterthwaite's degrees of freedom."""
    total = first + second
    if total <= 0:
        return 0.0, first_freedom
    return float(np.sqrt(total)), float(total**2 / (first**2 / first_freedom + second**2 / second_freedom))
