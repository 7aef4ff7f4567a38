"""The first two of the three answers about a curve: does it rise, and is it log-linear? The third is its verdict."""

from typing import Literal

from harness.analysis.stats.goodness_of_fit import GoodnessOfFit
from harness.analysis.stats.slopes import Slopes
from harness.analysis.verdict.rules import Judgement

Answer = Literal["yes", "no", "undecided"]
NOT_LINES = ("flat", "declining", "non_monotone", "saturating", "accelerating", "sigmoidal", "not_log_linear")


def rises(judgement: Judgement, s: Slopes, margin: float, doubts: list[str]) -> Answer:
    """Whether RL raises the curve over its window. doubts: reasons of the controls to withhold a claim.

    yes: the 95% interval of the slope lies above 0, the curve is not flat, and no control raises a doubt. no: flat, or
    the interval of the rise lies below the margin.
    """
    if judgement.verdict == "insufficient_data":
        return "undecided"
    low, high = s.rise.interval()
    if judgement.verdict == "flat" or high < margin:
        return "no"
    return "yes" if low > 0 and not doubts else "undecided"


def is_log_linear(judgement: Judgement, line: GoodnessOfFit | None) -> Answer:
    """Whether the curve rises log-linearly over its window.

    yes: the verdict. no: a shape that is no rising line; a third clearly less than half as steep as another; or the
    line rejected by the goodness-of-fit test with a deviation that matters.
    """
    if judgement.verdict == "log_linear":
        return "yes"
    return "no" if judgement.verdict in NOT_LINES or (line is not None and line.rejects) else "undecided"
