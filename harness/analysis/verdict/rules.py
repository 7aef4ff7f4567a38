"""The shape of a curve, read from per-replicate slopes in the thirds of its log window, the ordered
rules, and the answers: does it rise, and is it log-linear?

Slopes are linear in the accuracies, so t-intervals over replicates hold whatever the covariance between budgets.
"""

from dataclasses import dataclass
from typing import Literal, get_args

from harness.analysis.data.options import Options
from harness.analysis.stats.intervals import Estimate, estimate
from harness.analysis.stats.line_tests import GoodnessOfFit
from harness.analysis.stats.slopes import Slopes

Answer = Literal["yes", "no", "undecided"]
Shape = Literal[
    "log_linear", "saturating", "accelerating", "flat", "declining", "non_monotone", "indistinguishable",
    "insufficient_data", "sigmoidal", "not_log_linear",
]  # fmt: skip
VERDICTS: tuple[str, ...] = get_args(Shape)
NOT_LINES = ("flat", "declining", "non_monotone", "saturating", "accelerating", "sigmoidal", "not_log_linear")
SIGMOIDAL_RULE, NOT_LINEAR_RULE = 8, 9  # numbers of the rules added after 0 to 7; the order is that of the code
RATIO, EXCESS = 0.5, 1.5  # a third is as steep as another if at least half of it; much steeper from 1.5 times on
ROUNDING = 0.02  # decades by which a window may miss its width: budgets are whole steps


@dataclass(frozen=True)
class Judgement:
    """A verdict with the rule that gave it, its reason, and the p-value of what it claims (1 where it claims nothing).

    undecided: contrasts that kept the curve from being called what it may be, by name.
    """

    verdict: str
    rule: int
    reason: str
    p: float
    undecided: dict[str, Estimate]


def missing_data(n_budgets: int, decades: float, n_seeds: int, options: Options) -> list[str]:
    """What rule 0 needs besides, in words."""
    budgets, seeds = options.min_budgets - n_budgets, options.min_seeds - n_seeds
    lacks = []
    if budgets > 0:
        lacks.append(f"{budgets} more budget{'s' * (budgets > 1)} (has {n_budgets})")
    if not wide_enough(decades, options.min_decades):
        lacks.append(_lacking_decades(decades, options.min_decades))
    if seeds > 0:
        lacks.append(f"{seeds} more seed{'s' * (seeds > 1)} (has {n_seeds})")
    return lacks


def wide_enough(decades: float, needed: float) -> bool:
    """Whether a window has the decades needed, but for the rounding of its budgets to whole steps."""
    return decades >= needed - ROUNDING


def _lacking_decades(decades: float, needed: float) -> str:
    """The decades a window lacks; a near miss with as many digits as show it."""
    lack = needed - decades
    if lack >= 0.05:
        return f"{lack:.1f} more decades (has {decades:.1f})"
    return f"{needed:g} decades (has {decades:.3f})"


def judge(s: Slopes, margin: float) -> Judgement:
    """Rules 1 to 6 (docs/explanation/verdicts.md) as far as slopes decide them, in order. `log_linear` still has to
    reject the curved laws; margin is the smallest rise over the window that matters."""
    overall, last = estimate(s.overall), estimate(s.thirds[:, 2])
    rises = [s.rise, *(s.third_rise(i) for i in range(3))]
    if all(-margin < r.interval(0.9)[0] and r.interval(0.9)[1] < margin for r in rises):
        reason = f"90% intervals of the rise, in all and in each third, lie within {margin:g}"
        return Judgement("flat", 1, reason, max(r.p_equivalent(margin) for r in rises), {})
    falls = last.interval()[1] < 0
    if falls and overall.interval()[1] < 0:
        reason = "the overall slope and the slope of the last third lie below 0"
        return Judgement("declining", 2, reason, 2 * max(overall.p_below(), last.p_below()), {})
    fall = -s.third_rise(2).mean
    if falls and fall > margin / 3:
        reason = f"the last third falls by {fall:.3f} (more than {margin / 3:.3f}) though the whole does not"
        return Judgement("non_monotone", 2, reason, 2 * last.p_below(), {})
    low, high = overall.interval()
    if low <= 0:
        reason = f"the slope's interval, {low:.3f} to {high:.3f} a decade, is not above 0"
        return Judgement("indistinguishable", 3, reason, 1.0, {"slope": overall})
    return _rising(s, overall.p_above())


def _rising(s: Slopes, p_rise: float) -> Judgement:
    """The rules for a curve whose overall slope is above 0: sigmoidal first, then rules 4 to 7."""
    middle = [s.contrast(1, j, EXCESS) for j in (0, 2)]
    if all(c.interval()[0] > 0 for c in middle):
        reason = "the middle third is more than one and a half times as steep as both others"
        return Judgement("sigmoidal", SIGMOIDAL_RULE, reason, 2 * max(p_rise, *(c.p_above() for c in middle)), {})
    slower = [s.contrast(2, j, RATIO) for j in (0, 1)]
    if any(c.interval()[1] < 0 for c in slower):
        reason = "the last third is less than half as steep as an earlier one"
        return Judgement("saturating", 4, reason, max(2 * p_rise, 2 * min(c.p_below() for c in slower)), {})
    steeper = [s.contrast(2, j, EXCESS) for j in (0, 1)]
    if all(c.interval()[0] > 0 for c in steeper):
        reason = "the last third is more than one and a half times as steep as both earlier ones"
        return Judgement("accelerating", 5, reason, 2 * max(p_rise, *(c.p_above() for c in steeper)), {})
    return _thirds_alike(s, p_rise, {f"b3 - 1.5 b{j + 1}": c for j, c in enumerate(steeper)})


def _thirds_alike(s: Slopes, p_rise: float, steeper: dict[str, Estimate]) -> Judgement:
    """Rules 6 and 7 as far as the slopes of the thirds decide them."""
    ratios = {f"b{i + 1} - b{j + 1}/2": s.contrast(i, j, RATIO) for i in range(3) for j in range(3) if i != j}
    short = {name: c for name, c in ratios.items() if c.interval(0.9)[0] <= 0}
    if not short:
        p = max(2 * p_rise, *(c.p_above() for c in ratios.values()))
        return Judgement("log_linear", 6, "each third is at least half as steep as every other", p, {})
    unlike = {name: c for name, c in short.items() if c.interval(0.9)[1] < 0}
    if unlike:
        return _unlike_thirds(unlike, steeper, len(ratios))
    reason = f"whether the thirds are alike in slope is open ({', '.join(short)} not clearly above 0)"
    return Judgement("indistinguishable", 7, reason, 1.0, short)


def _unlike_thirds(unlike: dict[str, Estimate], steeper: dict[str, Estimate], compared: int) -> Judgement:
    """A rising curve whose thirds are not alike, without the shape of a named verdict. More data could show
    acceleration, if that is where the means of `steeper` point."""
    reason = (
        f"this is no line, for the thirds are not alike in slope ({', '.join(unlike)} below 0),"
        " but their order is not clearly that of a named shape"
    )
    pointing = all(c.mean > 0 for c in steeper.values())
    left = {name: c for name, c in steeper.items() if c.interval()[0] <= 0}
    p = compared * min(c.p_below() for c in unlike.values())
    return Judgement("not_log_linear", NOT_LINEAR_RULE, reason, p, left if pointing else {})


def reject_line(found: Judgement, line: GoodnessOfFit | None) -> Judgement:
    """The judgement after the goodness-of-fit test: where it rejects the line and no other shape is named, the verdict
    is not_log_linear."""
    if line is None or not line.rejects or found.verdict not in ("log_linear", "indistinguishable"):
        return found
    reason = (
        f"the line is rejected (goodness of fit p {line.p:.4f}) and misses the mean curve by up to {line.deviation:.2f}"
        " of the gain; no other shape is clear"
    )
    return Judgement("not_log_linear", NOT_LINEAR_RULE, reason, line.p, {})


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
