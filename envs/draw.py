"""Scalar draws from a numpy Generator. `rng.integers` costs ten times as much for one number as `rng.random` does."""

from collections.abc import Sequence
from string import ascii_lowercase
from typing import TypeVar

import numpy as np

T = TypeVar("T")
Rng = np.random.Generator


def integer(rng: Rng, low: int, high: int) -> int:
    """A uniform integer in [low, high); the bias is below (high - low) / 2**53."""
    return low + int(rng.random() * (high - low))


def number(rng: Rng, digits: int) -> int:
    """A uniform number of exactly so many digits; with one digit, 0 to 9."""
    return integer(rng, 10 ** (digits - 1) if digits > 1 else 0, 10**digits)


def pick(rng: Rng, items: Sequence[T]) -> T:
    """A uniform element."""
    return items[int(rng.random() * len(items))]


def letters(rng: Rng, length: int, alphabet: str = ascii_lowercase) -> str:
    """Uniform letters, with repeats."""
    size = len(alphabet)
    return "".join([alphabet[int(u * size)] for u in rng.random(length).tolist()])


def shuffled(rng: Rng, items: Sequence[T]) -> list[T]:
    """The items in uniform random order."""
    return [items[i] for i in rng.permutation(len(items)).tolist()]


def indices(rng: Rng, probabilities: np.ndarray | Sequence[float], n: int) -> list[int]:
    """n independent indices, each with its probability."""
    # The last sum is left out: rounding must never give an index past the last.
    return np.searchsorted(np.cumsum(probabilities)[:-1], rng.random(n), side="right").tolist()
