"""Quantiles of censored times: Kaplan and Meier (J. Am. Stat. Assoc. 53, 1958), and the width of a log-uniform
distribution that has them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.analysis.data.arrays import Array

LOWER, UPPER = 0.1, 0.9  # shares between which the spread is measured, as far as they are observed
FEWEST_TIMES = 5  # observed times below which no spread is estimated
FEWEST_SHARE = 0.25  # of all times, that the observed ones must cover: a smaller part does not fix the whole width


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


def kaplan_meier(times: Times) -> tuple[Array, Array]:
    """(distinct log10 times at which something occurred [m], share of all that have occurred by then [m])."""
    at = np.unique(times.log10[~times.late])
    at_risk = np.array([np.sum(times.log10 >= t) for t in at])
    events = np.array([np.sum(~times.late & (times.log10 == t)) for t in at])
    return at, 1.0 - np.cumprod(1.0 - events / np.maximum(at_risk, 1))


@dataclass(frozen=True)
class Spread:
    """Width in decades of the log-uniform distribution fitted to the observed times, and the largest distance in share
    between the two."""

    decades: float
    distance: float


def log_uniform_spread(times: Times) -> Spread | None:
    """The spread of the times; None with too few observed (in number or share), or all at one place.

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
    return Spread(float(decades), float(np.max(np.abs(straight - middle[fitted]))))
