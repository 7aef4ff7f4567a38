"""The section `study` of configs/study.yaml."""

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

from pydantic import NonNegativeInt
from pydantic.dataclasses import dataclass as schema

from harness.config.schema.fields import FORBID_EXTRA

Overrides = tuple[str, ...]


@schema(frozen=True, config=FORBID_EXTRA)
class Preregistration:
    """What was fixed before the first run of the study, in plain words, and apart from it what was decided later."""

    hypotheses: tuple[str, ...]
    primary: str
    margins: str
    exclusions: str
    sizes: str
    decided_later: tuple[str, ...]


@schema(frozen=True, config=FORBID_EXTRA)
class StudyConfig:
    """One run per arm, base seed and seed. axis: which budget is x of the run table. arms: name -> overrides, or a list
    of such lists for an arm that is several runs of a seed (sizes of the policy, or one run for each budget).
    base_seeds "same": each seed has its own base. folder: where tables and verdicts lie (null: under `out`). analysis:
    changes of its options."""

    name: str
    question: str
    seeds: tuple[NonNegativeInt, ...]
    base_seeds: tuple[NonNegativeInt, ...] | Literal["same"]
    axis: Literal["step", "completions", "tokens", "flops", "flops_convention", "seconds"]
    arms: Mapping[str, Overrides | tuple[Overrides, ...]]
    folder: str | None = None
    analysis: Mapping[str, Any] = field(default_factory=dict)
    registered: Preregistration | None = None

    def variants(self, arm: str) -> tuple[Overrides, ...]:
        """The arm's lists of overrides, one for each run of a seed."""
        changes = self.arms[arm]
        several = tuple(each for each in changes if not isinstance(each, str))
        return several or (tuple(each for each in changes if isinstance(each, str)),)
