"""The registered primary measure, computed: the answer, the effect with its interval, and what would decide it."""

from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

import polars as pl
from pydantic import TypeAdapter

from harness.analysis.data.measure import MeasureValues, measure_values
from harness.analysis.data.registered import Registered
from harness.analysis.data.table import Table, hours_of_replicate
from harness.analysis.stats.contrasts import fieller_ratio, mean_record
from harness.analysis.stats.formatting import Record, format_hours, format_significant, format_with_interval

SCHEMA_VERSION = 1
Answer = Literal["yes", "no", "undecided"]


@dataclass(frozen=True)
class PrimaryRecord:
    """primary.json. question: the measure in the words fixed before the first run. effect, low, high: its estimate with
    its 95% interval over n seeds (or bases, or whatever `unit` names); null where it is not known.

    answer: yes where the interval lies on the side `yes_if` of `margin`, no where it lies on the other.
    what_would_decide: of an undecided one, in words. seeds_needed: the n at which the interval would end at the margin,
    were effect and spread as found. hours_needed: of RL for those missing. notes: what was left out or assumed.
    """

    study: str
    question: str
    answer: Answer
    effect: float | None
    low: float | None
    high: float | None
    margin: float
    yes_if: Literal["above", "below"]
    metric: str
    n: int
    unit: str = "seeds"
    what_would_decide: str = ""
    seeds_needed: int | None = None
    hours_needed: float | None = None
    notes: tuple[str, ...] = ()
    schema_version: int = SCHEMA_VERSION

    @property
    def sentence(self) -> str:
        """The answer with its numbers, on a line."""
        effect = format_with_interval(self.effect, (self.low, self.high))
        asked = f"yes if {self.yes_if} {format_significant(self.margin)}"
        return f"{self.answer.capitalize()}: {effect}, {asked}; {self.metric}, {self.n} {self.unit}"


def typed_primary(record: dict[str, Any]) -> PrimaryRecord:
    """The content of a primary.json, typed. Raises ValidationError for a file of another schema."""
    return TypeAdapter(PrimaryRecord).validate_python(record)


def answer_to(low: float | None, high: float | None, margin: float, yes_if: str) -> Answer:
    """Which side of the margin an interval lies on; undecided where it covers it or there is none."""
    if low is None or high is None or low <= margin <= high:
        return "undecided"
    return "yes" if (low > margin) == (yes_if == "above") else "no"


def interval_answer(
    found: Record, margin: float, yes_if: Literal["above", "below"] = "above", more: str = "", **about: Any
) -> PrimaryRecord:
    """Of a measure that is no sum of means, from its mean, low, high and n. more: what would decide it. about: other
    entries of the record."""
    effect, low, high = (found[name] for name in ("mean", "low", "high"))
    answer = answer_to(low, high, margin, yes_if)
    about |= {"n": found["n"], "what_would_decide": more if answer == "undecided" else ""}
    return PrimaryRecord(answer=answer, effect=effect, low=low, high=high, margin=margin, yes_if=yes_if, **about)


def primary_record(table: Table, registered: Registered, min_bases: int) -> PrimaryRecord:
    """The registered measure of a table. Raises TableError where the table cannot give it."""
    measure = registered.measure
    values = measure_values(table, measure, min_bases)
    found, notes = _estimate(values)
    effect, low, high, n = (found[name] for name in ("mean", "low", "high", "n"))
    seeds = n_needed(effect, low, high, measure.margin, n)
    arms = list(dict.fromkeys(term.arm for term in (*measure.terms, *measure.per)))
    each = hours_of_replicate(table.frame.filter(pl.col("arm").is_in(arms)))
    hours = None if seeds is None or each is None else (seeds - n) * each
    return interval_answer(
        {"mean": _stable(effect), "low": _stable(low), "high": _stable(high), "n": n},
        measure.margin,
        measure.yes_if,
        _what_would_decide(seeds, hours, values.unit),
        study=registered.study,
        question=registered.question,
        metric=measure.metric,
        unit=values.unit,
        seeds_needed=seeds,
        hours_needed=_stable(hours),
        notes=(*values.notes, *notes),
    )


def _stable(value: float | None) -> float | None:
    """To ten figures, which the order that a mean is summed in does not change."""
    return None if value is None else float(f"{value:.10g}")


def _estimate(values: MeasureValues) -> tuple[Record, list[str]]:
    """mean, low, high and n, and the reason where there are none."""
    if not len(values.numerator):
        return {"mean": None, "low": None, "high": None, "n": 0}, ["no replicate has the measure"]
    if values.denominator is None:
        return mean_record(values.numerator), []
    ratio = fieller_ratio(values.numerator, values.denominator)
    found = {"mean": ratio.value, "low": ratio.low, "high": ratio.high, "n": len(values.numerator)}
    return found, [f"no ratio: {ratio.reason}"] * bool(ratio.reason)


def n_needed(effect: float | None, low: float | None, high: float | None, margin: float, n: int) -> int | None:
    """Replicates at which an interval that covers the margin would end at it: n times (half width / distance)^2; None
    where it does not cover it, where no number would do, or none is known."""
    if effect is None or low is None or high is None or effect == margin or not low <= margin <= high:
        return None
    half = effect - low if effect > margin else high - effect
    return max(n + 1, ceil(n * (half / (effect - margin)) ** 2))


def _what_would_decide(seeds: int | None, hours: float | None, unit: str) -> str:
    if seeds is None:
        return f"More {unit}; how many cannot be estimated from these."
    cost = "" if hours is None else f"; {format_hours(hours)} of RL for those that are missing"
    return f"{seeds:,} {unit} in all, were effect and spread as here{cost}."
