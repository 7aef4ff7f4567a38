"""Many compositions of one configuration. Hydra takes a fifth of a second for each; where they differ in values alone,
as the arms of a study do, it composes once and the values are set."""

import copy
from collections.abc import Sequence
from typing import Any

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from harness.config.schema import plain


class Composer:
    """Within an initialised Hydra: composer(overrides) is the plain, resolved container that Hydra's compose gives."""

    def __init__(self, config_name: str):
        self._name = config_name
        self._composed: dict[tuple[str, ...], DictConfig] = {}
        self._groups = set(GlobalHydra.instance().config_loader().list_groups(""))

    def __call__(self, overrides: Sequence[str]) -> dict[str, Any]:
        """Raises HydraException as compose does."""
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        values = [each for each in parsed if self._is_value(each)]
        shape = tuple(text for text, each in zip(overrides, parsed) if each not in values)
        if shape not in self._composed:
            self._composed[shape] = compose(self._name, list(shape))
        config = copy.deepcopy(self._composed[shape])
        for each in values:
            if OmegaConf.select(config, each.key_or_group, default=config) is config:  # Hydra says what is wrong
                return plain(compose(self._name, list(overrides)))
            OmegaConf.update(config, each.key_or_group, each.value())
        return plain(config)

    def _is_value(self, override: Override) -> bool:
        """Whether it gives a value to a key that is there already: no choice of a group, nothing added or deleted."""
        changes = override.is_add() or override.is_force_add() or override.is_delete() or override.is_sweep_override()
        return not (changes or override.package or override.key_or_group in self._groups)
