"""From plain containers to checked configurations, and back."""

import importlib
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from harness.config.schema import Config, StudyConfig, StudySize
from harness.config.validate import check, check_study
from harness.core.errors import UserError

_CONFIG = TypeAdapter(Config)
_STUDY = TypeAdapter(dict[str, StudyConfig])
_SIZE = TypeAdapter(dict[str, StudySize])


def parse(container: Mapping[str, Any]) -> Config:
    """A composed, resolved container as a checked Config; imports the modules that it names in `imports`.

    Raises UserError for a combination that cannot work, pydantic's ValidationError for a value outside its type.
    """
    config = _CONFIG.validate_python(container)
    for module in config.imports:
        _import(module)
    check(config)
    return config


def parse_study(container: Mapping[str, Any]) -> StudyConfig:
    """The section `study` of a composed container, checked. Raises as `parse` does."""
    study = _STUDY.validate_python({"study": container})["study"]  # so that errors name study.arms, not arms
    check_study(study)
    return study


def parse_size(container: Mapping[str, Any]) -> StudySize:
    """The section `size` of a composed container. Raises pydantic's ValidationError."""
    return _SIZE.validate_python({"size": container})["size"]


def dump(config: Config) -> dict[str, Any]:
    """The plain container: parse(dump(config)) == config."""
    return _CONFIG.dump_python(config, mode="json")


def _import(module: str) -> None:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(
            f"imports={module}", f"no module is called {error.name!r}", "install it, or add its folder to PYTHONPATH"
        ) from None
