"""What names a run: a hash of all that determines its weights, and of nothing else."""

import functools
import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

from envs.registry import select
from harness.config.schema import Config, dump

# Part of every identity: raise it when the same configuration would give other weights.
SCHEMA_VERSION = 1


@functools.cache
def code_version() -> str:
    """Version of the package, with the commit where this is a git checkout."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        release = version("rl-scaling")
    except PackageNotFoundError:
        release = "0"
    where = Path(__file__).parent
    git = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=where, capture_output=True, text=True)
    return f"{release}+{git.stdout.strip()}" if git.returncode == 0 else release


def _hash(content: Any) -> str:
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=6).hexdigest()


def _names(patterns: tuple[str, ...]) -> list[str]:
    """The tasks that patterns stand for, in the order in which they are drawn: a pattern that matches more tasks in a
    later version is another mixture."""
    return [task.name for task in select(patterns)]


# Options younger than the first runs, and their value where they are off: it leaves an identity what it was without.
_LATER = {
    ("algo", "critic"): None,
    ("base", "worked"): 0.0,
    ("tasks", "retire_at"): None,
    ("sampling", "thinking"): 0,
    ("evaluation", "thinking"): [0],
}


def _named(config: Config) -> dict[str, Any]:
    """The plain container that identities are made of."""
    plain = dump(config)
    for (section, name), off in _LATER.items():
        if plain[section][name] == off:
            del plain[section][name]
    return plain


def base_id(config: Config) -> str:
    """Identity of the base: what determines its weights."""
    plain = _named(config)
    plain["base"]["tasks"] = _names(config.base.tasks)
    if config.base.folder is not None:
        from harness.policy.export import origin_of

        weights = origin_of(Path(config.base.folder), config.model)["weights"]
        plain["base"] = {"weights": weights} | ({"thinks": True} if config.thinks else {})
    content = {key: plain[key] for key in ("model", "base", "precision")}
    return "base-" + _hash({"schema": SCHEMA_VERSION, **content})


def run_id(config: Config) -> str:
    """Identity of an RL run: what determines its weights at any step, so neither labels, paths and evaluation settings
    nor, where the schedule has no horizon, the number of steps: a longer budget extends a run."""
    plain = _named(config)
    kept = ["seed"]
    if config.objective != "frozen":
        kept += ["tasks", "rl", "algo", "optim", "schedule", "precision"]
        kept += ["sampling", "reward"] if config.objective == "rl" else ["corpus"]
        corpus = {"contexts", "difficulties", "difficulty_decay", "wrong_answers", "worked"} & plain["base"].keys()
        plain["corpus"] = {"tasks": _names(config.base.tasks), **{name: plain["base"][name] for name in corpus}}
        plain["corpus"] |= {name: plain["sampling"][name] for name in plain["sampling"].keys() & {"thinking"}}
        plain["tasks"]["verified"] = _names(config.tasks.verified)
        plain["tasks"] = {name: value for name, value in plain["tasks"].items() if name not in ("unverified", "longer")}
        if not config.schedule.has_horizon:
            plain["rl"].pop("steps")
    content = {key: plain[key] for key in kept}
    return f"{config.objective}-" + _hash({"schema": SCHEMA_VERSION, "base": base_id(config), **content})


def evaluation_id(config: Config) -> str:
    """Identity of an evaluation: its settings and tasks."""
    plain = _named(config)
    settings = {key: value for key, value in plain["evaluation"].items() if key != "rows"}
    roles = [_names(config.tasks.verified), _names(config.tasks.unverified)]
    tasks = [*roles, list(config.tasks.difficulties), *([list(config.tasks.longer)] if config.tasks.longer else [])]
    return "evaluation-" + _hash({"schema": SCHEMA_VERSION, "tasks": tasks, **settings})
