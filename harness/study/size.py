"""A study made smaller, for a trial: upper limits of its settings, whichever of its arms set them."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from harness.config.schema import StudyConfig, StudySize
from harness.config.schema.study import Preregistration
from harness.core.errors import UserError


def limited_run(container: Mapping[str, Any], at_most: Mapping[str, Any]) -> dict[str, Any]:
    """The container of a run with no number above its limit in `at_most`, nor a budget beyond its steps, nor a k or a
    number of minibatches beyond what is left. Raises UserError for a limit of a setting that does not exist."""
    if not at_most:
        return dict(container)
    run = limited(container, at_most)
    follow = {
        "budgets": run["base" if run["objective"] == "pretraining" else "rl"]["steps"],
        "evaluation": {"ks": run["evaluation"]["samples"]},
        "optim": {"minibatches": run["rl"]["problems"]},
    }
    return limited(run, follow)


def limited(values: Mapping[str, Any], at_most: Mapping[str, Any]) -> dict[str, Any]:
    """Values, none above its limit; of a list each number is limited, and of equal ones one is kept. Words and null
    stay as they are. Raises UserError for a limit of what is not there."""
    if unknown := sorted(at_most.keys() - values.keys()):
        raise UserError(f"size.at_most: {', '.join(unknown)}", "there is no such setting", "see all with --cfg job")
    return {**values, **{name: _limited(values[name], limit) for name, limit in at_most.items()}}


def _limited(value: Any, limit: Any) -> Any:
    if isinstance(value, Mapping) and isinstance(limit, Mapping):
        return limited(value, limit)
    if isinstance(value, list | tuple):
        return list(dict.fromkeys(_limited(each, limit) for each in value))
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return min(value, limit) if is_number and not isinstance(limit, Mapping) else value


def limited_study(study: StudyConfig, size: StudySize) -> StudyConfig:
    """The study with the name and the replicates of `size`, its measure at steps that are left. A trial is not refused
    as out of reach, which its bases of a few steps always are."""
    if size == StudySize():
        return study
    bases = study.base_seeds if study.base_seeds == "same" else study.base_seeds[: size.replicates and 1]
    return replace(
        study,
        name=f"{study.name}-{size.name}" if size.name else study.name,
        seeds=study.seeds[: size.replicates],
        base_seeds=bases,
        registered=study.registered and _limited_registered(study.registered, size.at_most),
        accept_out_of_reach=True,
    )


def _limited_registered(registered: Preregistration, at_most: Mapping[str, Any]) -> Preregistration:
    """With its measure at no step after the last, of no more samples than are drawn."""
    if registered.measure is None:
        return registered
    last = at_most.get("rl", {}).get("steps", math.inf)
    samples = at_most.get("evaluation", {}).get("samples", math.inf)
    measure, (kind, at, k) = registered.measure, registered.measure.metric.rpartition("_at_")
    metric = f"{kind}{at}{min(int(k), samples)}" if kind in ("pass", "pass_all") else measure.metric
    terms, per = (
        tuple(term if isinstance(term.at, str) else replace(term, at=min(term.at, last)) for term in each)
        for each in (measure.terms, measure.per)
    )
    return replace(registered, measure=replace(measure, metric=metric, terms=terms, per=per))
