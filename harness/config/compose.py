"""Many compositions of one configuration. Hydra takes a fifth of a second for each; where they differ in values alone,
as the arms of a study do, it composes once and the values are set."""

import copy
from collections.abc import Sequence
from typing import Any, cast

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from harness.config.overrides import explain, parse_overrides
from harness.core.errors import UserError


def plain(container: DictConfig) -> dict[str, Any]:
    """A composed Hydra configuration as plain, resolved Python."""
    return cast(dict[str, Any], OmegaConf.to_container(container, resolve=True))


class Composer:
    """Within an initialised Hydra: composer(overrides) is the plain, resolved container that Hydra's compose gives."""

    def __init__(self, config_name: str):
        self._name = config_name
        self._composed: dict[tuple[str, ...], DictConfig] = {}
        self._groups = set(GlobalHydra.instance().config_loader().list_groups(""))

    def __call__(self, overrides: Sequence[str]) -> dict[str, Any]:
        """Raises UserError for an override that Hydra cannot apply, and for one that it would apply to no effect."""
        parsed = parse_overrides(overrides)
        for each in parsed:
            _refuse_empty_mapping(each)
        values = [each for each in parsed if self._is_value(each)]
        shape = tuple(text for text, each in zip(overrides, parsed) if each not in values)
        if shape not in self._composed:
            self._composed[shape] = self._compose(shape, overrides)
        config = copy.deepcopy(self._composed[shape])
        for each in values:
            if OmegaConf.select(config, each.key_or_group, default=config) is config:  # Hydra's own error is needed
                return plain(self._compose(overrides, overrides))
            OmegaConf.update(config, each.key_or_group, each.value())
        return plain(config)

    def _compose(self, overrides: Sequence[str], given: Sequence[str]) -> DictConfig:
        try:
            return compose(self._name, list(overrides))
        except HydraException as error:
            raise explain(error, self._name, given) from None

    def _is_value(self, override: Override) -> bool:
        """Whether it gives a value to a key that is there already: no choice of a group, nothing added or deleted."""
        changes = override.is_add() or override.is_force_add() or override.is_delete() or override.is_sweep_override()
        return not (changes or override.package or override.key_or_group in self._groups)


def _refuse_empty_mapping(override: Override) -> None:
    """Hydra merges mappings, so that `study.arms={}` would leave all arms where they are."""
    if override.value() == {} and not (override.is_add() or override.is_force_add() or override.is_delete()):
        raise UserError(
            f"{override.key_or_group}={{}}",
            "mappings are merged, so an empty one changes nothing",
            f"remove entries one by one: ~{override.key_or_group}.NAME",
        )
