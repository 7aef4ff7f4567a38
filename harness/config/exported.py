"""The record that an exported policy (harness/policy/export.py) keeps of what made it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.config.schema import ModelConfig
from harness.core.errors import UserError

# Parts of a model's configuration that its function does not depend on.
_NO_SHAPE = ("name", "init_std", "base_width")


def read_origin(folder: Path) -> dict[str, Any] | None:
    """The section "rl_scaling" of an exported folder's config.json; None if there is none."""
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
