"""What names a run: a hash of all that determines its weights, and of nothing else.

Identities cover resolved values, not which of them a user wrote: `algo=ppo` and the settings that it stands for are one
run, and a changed default in YAML gives other ids to the runs that relied on it, since their weights change.

An option at the default that its type declares (harness/config/schema) is left out. Only an option that can be off has
such a default, the value at which runs are what they were without it. So a new option that is off changes no id,
whatever YAML makes of its default later, and no list of late options is kept anywhere. Nothing is composed to compute
an id: worker processes get the same from the container alone.

What can change weights while no value does: SCHEMA_VERSION counts changes of what a value means, and the source of each
module in `imports`, where tasks, algorithms and rewards of the user's own are defined, is hashed with the rest. The
backend is left out: backends agree to rounding.
"""

import functools
import hashlib
import importlib
import json
import subprocess
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import TypeAdapter

from envs.registry import select
from harness.config.roles import phases_of
from harness.config.schema import Config, CorpusOptions, ModelConfig
from harness.core.errors import UserError

# Part of every identity: raise it when the same configuration would give other weights.
SCHEMA_VERSION = 2

# Parts of a model's configuration that its function does not depend on.
_NO_SHAPE = ("name", "init_std", "base_width")
_CONFIG = TypeAdapter(Config)
_ROOT = Path(__file__).parents[2]


@functools.cache
def code_version() -> str:
    """Version of the package, with the commit where this is a git checkout and git is installed."""
    try:
        release = version("rl-scaling")
    except PackageNotFoundError:
        release = "0"
    if not (_ROOT / ".git").exists():  # a folder inside someone else's repository is not this one's checkout
        return release
    try:
        git = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=_ROOT, capture_output=True, text=True)
    except OSError:
        return release
    return f"{release}+{git.stdout.strip()}" if git.returncode == 0 else release


def _hash(content: Any) -> str:
    return hashlib.blake2b(json.dumps(content, sort_keys=True).encode(), digest_size=6).hexdigest()


def _names(patterns: tuple[str, ...]) -> list[str]:
    """The tasks that patterns stand for, in the order in which they are drawn: a pattern that matches more tasks in a
    later version is another mixture."""
    return [task.name for task in select(patterns)]


def _values(config: Config) -> dict[str, Any]:
    """The plain container that identities are made of: all values but those at a default of their type."""
    return _CONFIG.dump_python(config, mode="json", exclude_defaults=True)


def read_origin(folder: Path) -> dict[str, Any] | None:
    """What made an exported policy: the section rl_scaling of its config.json (harness/policy/export.py), or None."""
    try:
        return json.loads((folder / "config.json").read_text()).get("rl_scaling")
    except (OSError, ValueError):
        return None


def origin_of(folder: Path, config: ModelConfig) -> dict[str, Any]:
    """What made an exported folder. Raises UserError if it is foreign, or of another shape than `config`."""
    origin = read_origin(folder)
    if origin is None:
        raise UserError(
            f"base.folder={folder}",
            "it was not exported from here: config.json, if there is one, has no section rl_scaling, and the tokens of "
            "another model are not those of the tasks",
            "export one with: python scripts/export.py run=… out=…",
        )
    here, there = asdict(config), origin["model"]
    wrong = [f"model.{k}={there.get(k)}" for k in here if k not in _NO_SHAPE and here[k] != there.get(k)]
    if wrong:
        raise UserError(f"base.folder={folder}", "it holds a model of another shape", "set " + " ".join(wrong))
    return origin


@functools.cache
def _source_hash(name: str) -> str:
    """Hash of the source of an imported module, for a package of all its modules; as it was when first computed, since
    that is what this process runs."""
    digest = hashlib.blake2b(digest_size=16)
    for content in _sources(importlib.import_module(name)):
        digest.update(hashlib.blake2b(content, digest_size=16).digest())
    return digest.hexdigest()


def _sources(module: ModuleType) -> list[bytes]:
    folders = [Path(folder) for folder in getattr(module, "__path__", ())]
    files = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    if files:
        return [path.read_bytes() for path in files]
    spec = module.__spec__
    loader, origin = (spec.loader, spec.origin) if spec else (None, None)
    read = getattr(loader, "get_data", None)  # files, and members of a zip
    return [read(origin)] if read and origin else []


def _imported(config: Config) -> dict[str, list[str]]:
    """{"imports": hashes of their sources}; {} where nothing is imported."""
    return {"imports": sorted({_source_hash(name) for name in config.imports})} if config.imports else {}


def base_id(config: Config) -> str:
    """Identity of the base: what determines its weights."""
    return "base-" + _hash({"schema": SCHEMA_VERSION, **_pretraining(config)})


def _pretraining(config: Config) -> dict[str, Any]:
    """What determines the weights of a base."""
    values = _values(config)
    content = {key: values[key] for key in ("model", "base", "precision")}
    if config.base.folder is None:
        base = {name: value for name, value in content["base"].items() if name != "task_options"}
        content["base"] = {**base, "tasks": _names(config.base.tasks), **_task_options(config)}
        content |= _imported(config)
    else:
        weights = origin_of(Path(config.base.folder), config.model)["weights"]
        content["base"] = {"weights": weights} | ({"has_scratchpad": True} if config.has_scratchpad else {})
    return content


def run_id(config: Config) -> str:
    """Identity of a run: what determines its weights at any step, so neither labels, paths and evaluation settings nor,
    without a horizon, the number of steps: a longer budget extends a run."""
    values = _values(config)
    if config.objective == "pretraining":
        content = _pretraining(config)
        if not config.has_horizon:
            content["base"].pop("steps")
        return "pretraining-" + _hash({"schema": SCHEMA_VERSION, "seed": config.seed, **content})
    kept = ["seed"]
    if config.objective != "frozen":
        kept += ["tasks", "rl", "algo", "optim", "schedule", "precision"]
        kept += ["sampling", "reward"] if config.objective == "rl" else ["corpus"]
        values["corpus"] = _corpus(config, values)
        values["tasks"] = _trained_tasks(config, values["tasks"])
        if not config.has_horizon:
            values["rl"].pop("steps")
    content = {key: values[key] for key in kept}
    content |= _imported(config) if config.objective != "frozen" else {}
    return f"{config.objective}-" + _hash({"schema": SCHEMA_VERSION, "base": base_id(config), **content})


def _corpus(config: Config, values: dict[str, Any]) -> dict[str, Any]:
    """What continued pretraining reads, and the thinking budget, on which its length depends."""
    names = ("contexts", "difficulties", "difficulty_decay", "label_noise", "scratchpad_share", "calls_share")
    corpus = {name: values["base"][name] for name in names if name in values["base"]}
    thinking = {name: value for name, value in values["sampling"].items() if name == "thinking"}
    return {"tasks": _names(config.base.tasks), **corpus, **_task_options(config), **thinking}


def _task_options(config: Config) -> dict[str, Any]:
    """The options of each task whose options are its own, whatever patterns stand for it; {} where none has any."""
    base = config.base
    general = CorpusOptions(1.0, base.label_noise, base.scratchpad_share, base.calls_share)
    own = {name: options for name in _names(base.tasks) if (options := base.options(name)) != general}
    dumped = TypeAdapter(dict[str, CorpusOptions]).dump_python(own, mode="json")
    for options in dumped.values():
        if options["calls_share"] == 1.0:
            del options["calls_share"]  # which came later: the identities of before stand
    return {"task_options": dumped} if own else {}


def _trained_tasks(config: Config, tasks: dict[str, Any]) -> dict[str, Any]:
    """The section `tasks` without what is only evaluated."""
    trained = {name: value for name, value in tasks.items() if name not in ("unverified", "held_out_difficulties")}
    verified = config.tasks.verified  # in a sequence their order counts
    return {**trained, "verified": list(map(list, phases_of(verified))) if config.tasks.sequence else _names(verified)}


def evaluation_id(config: Config) -> str:
    """Identity of an evaluation: its settings and tasks."""
    values = _values(config)
    settings = {key: value for key, value in values["evaluation"].items() if key != "batch_size"}
    if config.evaluation.documents:
        settings["corpus"] = _corpus(config, values)
    held_out = [list(config.tasks.held_out_difficulties)] if config.tasks.held_out_difficulties else []
    roles = [_names(config.tasks.verified), _names(config.tasks.unverified)]
    tasks = [*roles, list(config.tasks.difficulties), *held_out]
    return "evaluation-" + _hash({"schema": SCHEMA_VERSION, "tasks": tasks, **settings, **_imported(config)})
