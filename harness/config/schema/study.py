"""The section `study` of configs/study.yaml."""

from collections.abc import Mapping
from dataclasses import field
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass as schema

from harness.config.schema.training import FORBID_EXTRA

Overrides = tuple[str, ...]
# Metrics of a whole curve, not of a row:
DIFFICULTY_EXPONENT = "difficulty_exponent"
RISE_DECADES = "rise_decades"
RISE_TO_ONE_DECADES = "rise_to_one_decades"


@schema(frozen=True, config=FORBID_EXTRA)
class MeasureTerm:
    """`weight` times the mean of a metric over an arm's rows of the run table `at` its first or last budget or a step.
    role, tasks (names or patterns), difficulties and setting choose among the rows; left out, they choose all."""

    arm: str
    at: Literal["first", "last"] | NonNegativeInt = "last"
    role: Literal["verified", "unverified"] | None = None
    tasks: tuple[str, ...] = ()
    difficulties: tuple[PositiveInt, ...] = ()
    setting: str | None = None
    weight: float = 1.0

    def selects(self, role: str, task: str, difficulty: int | str, setting: str) -> bool:
        """Whether a cell is one of the term's."""
        return (
            self.role in (None, role)
            and (not self.tasks or any(fnmatchcase(task, pattern) for pattern in self.tasks))
            and (not self.difficulties or str(difficulty) in map(str, self.difficulties))
            and self.setting in (None, setting)
        )


@schema(frozen=True, config=FORBID_EXTRA)
class Measure:
    """The primary measure as a number: the sum of `terms`, seed by seed, over that of `per` (the denominator) if given.

    The answer is yes where its 95% interval over seeds lies on the side `yes_if` of `margin`, no where it lies on the
    other, else undecided. metric: accuracy, pass_all_at_K (all of K samples of a problem right), a numeric column of
    the run table, or one of all budgets, whatever `at`: difficulty_exponent (gamma of T = T_1 D^gamma, T the x at which
    D is solved to one half), rise_decades (of x from a tenth to nine tenths of the rise that was seen) or
    rise_to_one_decades (the same of the way from the first accuracy to 1). alike: what has equal weight in a mean,
    every cell, or every task (and within it every cell).
    """

    terms: Annotated[tuple[MeasureTerm, ...], Field(min_length=1)]
    margin: float
    metric: str = "accuracy"
    per: tuple[MeasureTerm, ...] = ()
    yes_if: Literal["above", "below"] = "above"
    alike: Literal["cells", "tasks"] = "cells"


@schema(frozen=True, config=FORBID_EXTRA)
class Preregistration:
    """What was fixed before the first run of the study, in plain words, and apart from it what was decided later.
    primary_role: the tasks that the primary measure is over, all of this role; null: those of both. measure: the
    primary measure in a form that the analysis computes."""

    hypotheses: tuple[str, ...]
    primary: str
    margins: str
    exclusions: str
    sizes: str
    decided_later: tuple[str, ...]
    primary_role: Literal["verified", "unverified"] | None = None
    measure: Measure | None = None


@schema(frozen=True, config=FORBID_EXTRA)
class StudyConfig:
    """One run per arm, base seed and seed. axis: which budget is x of the run table. arms: name -> overrides, or a list
    of such lists for an arm that is several runs of a seed (sizes of the policy, or one run for each budget).
    base_seeds "same": each seed has its own base. analysis: changes of its options.
    accept_out_of_reach: whether a registered primary measure may have more than a quarter of its cells out of reach."""

    name: str
    question: str
    seeds: tuple[NonNegativeInt, ...]
    base_seeds: tuple[NonNegativeInt, ...] | Literal["same"]
    axis: Literal["step", "completions", "tokens", "flops", "flops_convention", "seconds"]
    arms: Mapping[str, Overrides | tuple[Overrides, ...]]
    analysis: Mapping[str, Any] = field(default_factory=dict)
    registered: Preregistration | None = None
    accept_out_of_reach: bool = False

    def variants(self, arm: str) -> tuple[Overrides, ...]:
        """The arm's lists of overrides, one for each run of a seed."""
        several = tuple(tuple(each) for each in self.arms[arm] if not isinstance(each, str))
        return several or (tuple(each for each in self.arms[arm] if isinstance(each, str)),)


@schema(frozen=True, config=FORBID_EXTRA)
class StudySize:
    """Upper limits of a study, for a trial of it. name: appended to the study's. replicates: of each arm. at_most: the
    limits of settings, in their sections. All off: the study as it is."""

    name: str | None = None
    replicates: PositiveInt | None = None
    at_most: Mapping[str, Any] = field(default_factory=dict)
