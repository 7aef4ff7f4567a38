"""Values by a key (`grouped`), and what follows from the size of a group of completions of one problem."""

from collections.abc import Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")
Key = TypeVar("Key")


def grouped(items: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    """Key -> its items; both in the order they come in."""
    found: dict[Key, list[Item]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found


def signal_share(success: float, group_size: int) -> float:
    """Share of groups that hold both right and wrong completions, 1 - q^G - (1 - q)^G: the others have zero advantage.
    q is the same for all problems of a cell: where they differ, it is an upper bound."""
    return 1.0 - success**group_size - (1.0 - success) ** group_size
