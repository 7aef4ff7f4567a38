"""Settings that exclude each other, as a table: a pair, and the reason."""

import json
from dataclasses import MISSING, fields, is_dataclass
from typing import Any

from harness.config.schema import Config
from harness.core.errors import UserError

_CONTINUED, _PRETRAINING = "objective=continued_pretraining", "objective=pretraining"
_COST = "what RL would have drawn depends on its successes, so its cost cannot be matched without it"
_PHASES = "the entries are trained one after the other, each for as many steps"

# A name alone stands for every value but its default and null, which turn it off; name=value for that value.
CONFLICTS = {
    ("rl.stop_at", "launcher.name=stacked"): "the runs of a stack share each step, and each would end at another",
    ("rl.stop_at", _PRETRAINING): "pretraining goes on to base.steps",
    ("base.folder", _PRETRAINING): "the run begins at initialisation, not at weights that exist",
    ("base.synthetic", _PRETRAINING): "its documents are written by a base, and the run has none",
    ("base.synthetic", "base.folder"): "an imported base is not pretrained, so it reads no documents",
    ("base.synthetic.filter_error", "base.synthetic.filter=none"): "without a filter nothing can err",
    ("tasks.weights", "tasks.weight_distribution"): "both give the weights of the tasks",
    ("tasks.target_success", _CONTINUED): _COST,
    ("tasks.retire_at", _CONTINUED): _COST,
    ("tasks.pool_exponent", "tasks.distinct_problems=null"): "it weights the problems of a pool, and there is none",
    ("tasks.distinct_problems", "tasks.target_success"): "a pool's tasks and difficulties have fixed probabilities",
    ("tasks.distinct_problems", "tasks.retire_at"): "a pool is fixed, and none of its problems leaves it",
    ("tasks.replay", "tasks.sequence=false"): "it is the share of earlier phases, and there are none",
    ("tasks.sequence=true", "tasks.weights"): _PHASES,
    ("tasks.sequence=true", "tasks.weight_distribution"): _PHASES,
    ("tasks.sequence=true", "tasks.target_success"): "its phases give the tasks, whatever the policy's success",
    ("tasks.sequence=true", "tasks.distinct_problems"): "a pool may hold no problem of a phase",
}


def check_conflicts(config: Config) -> None:
    """Raises UserError for the first pair that stands in the configuration."""
    for pair, reason in CONFLICTS.items():
        if all(_holds(config, setting) for setting in pair):
            fixes = " or ".join(_off(config, setting) for setting in sorted(pair, key=lambda each: "=" in each))
            raise UserError(" with ".join(_shown(config, setting) for setting in pair), reason, f"set {fixes}")


def _value(config: Any, name: str) -> Any:
    for part in name.split("."):
        config = getattr(config, part, None)
    return config


def _default(config: Config, name: str) -> Any:
    """Of the setting's type; None where it has none."""
    section, _, own = name.rpartition(".")
    found = {field.name: field.default for field in fields(_value(config, section))}[own]
    return None if found is MISSING else found


def _holds(config: Config, setting: str) -> bool:
    name, equals, value = setting.partition("=")
    found = _value(config, name)
    if equals:
        return value == (found if isinstance(found, str) else json.dumps(found))
    return found is not None and found != _default(config, name)


def _shown(config: Config, setting: str) -> str:
    found = None if "=" in setting else _value(config, setting)
    return f"{setting}={found}" if isinstance(found, int | float | str) else setting.replace(".name=", "=")


def _off(config: Config, setting: str) -> str:
    """What turns it off."""
    name, equals, value = setting.partition("=")
    if equals:
        other = {"true": "false", "false": "true"}.get(value)
        return f"{name}={other}" if other else f"another {name.removesuffix('.name')}"
    default = _default(config, name)
    if is_dataclass(default):
        return " and ".join(f"{name}.{field.name}=null" for field in fields(default))
    return f"{name}={json.dumps(default)}"
