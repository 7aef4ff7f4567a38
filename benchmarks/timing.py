"""Work timed in turn: machines differ and are shared, so only ratios of one run are quoted."""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

ROUNDS = 5
CEILING = "matrix product"
_ROWS, _IN, _OUT, _PRODUCTS = 4096, 128, 512, 20

Work = Callable[[], Any]


def rounds_in_turn(works: Mapping[str, Work], warm: int = 2) -> Iterator[dict[str, list[float]]]:
    """Wall-clock seconds of each call so far, {name: [rounds]}, after each round, without end: a round calls each work
    once, the next begins with another. Before them each is called `warm` times."""
    for work in works.values():
        for _ in range(warm):
            work()
    seconds: dict[str, list[float]] = {name: [] for name in works}
    names = list(works)
    for first in itertools.cycle(range(len(names))):
        for name in names[first:] + names[:first]:
            began = time.perf_counter()
            works[name]()
            seconds[name].append(time.perf_counter() - began)
        yield seconds


def in_turn(
    works: Mapping[str, Work], rounds: int, progress: Callable[[str], None], warm: int = 2
) -> dict[str, list[float]]:
    """The seconds of so many `rounds_in_turn`."""
    seconds: dict[str, list[float]] = {}
    for round, seconds in enumerate(itertools.islice(rounds_in_turn(works, warm), rounds)):
        progress(f"round {round + 1} of {rounds}: " + ", ".join(f"{n} {s[-1]:.3g} s" for n, s in seconds.items()))
    return seconds


def synchronise(device: str) -> None:
    """Waits until a GPU has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def products() -> Work:
    """Plain float32 products of the size that a small policy has: what the machine can do at best."""
    a, b, out = torch.randn(_ROWS, _IN), torch.randn(_IN, _OUT), torch.empty(_ROWS, _OUT)

    def work() -> None:
        for _ in range(_PRODUCTS):
            torch.mm(a, b, out=out)

    return work


def rate(seconds: float) -> float:
    """FLOP/s of `products` that took so long."""
    return 2 * _ROWS * _IN * _OUT * _PRODUCTS / seconds


def median(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in seconds.items()}
