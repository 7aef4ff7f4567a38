"""Nested configuration as dotted names."""

from collections.abc import Mapping, Sequence
from typing import Any


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}; lists are leaves."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        flat |= flatten(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value}
    return flat


def changed_names(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names whose values are not the same in all, but for those that follow from the name of their group
    (algo.clip_low from algo.name)."""
    names = dict.fromkeys(name for each in settings for name in each)
    differing = [name for name in names if any(each.get(name) != settings[0].get(name) for each in settings)]
    return [name for name in differing if not any(_follows(name, other, settings) for other in differing)]


def _follows(name: str, other: str, settings: Sequence[Mapping[str, Any]]) -> bool:
    """Whether `other` names the group of `name`, and none of one group differ in it."""
    if name == other or not other.endswith(".name") or not name.startswith(other.removesuffix("name")):
        return False
    pairs = {(str(each.get(other)), str(each.get(name))) for each in settings}
    return len(pairs) == len({choice for choice, _ in pairs})
