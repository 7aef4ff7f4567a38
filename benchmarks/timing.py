"""Work timed in turn: machines differ and are shared, so only ratios of one run are quoted. And their tables."""

import statistics
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch

ROUNDS = 5
CEILING = "matrix product"

Work = Callable[[], Any]


def rounds_in_turn(works: Mapping[str, Work], rounds: int, warm: int = 2) -> Iterator[dict[str, list[float]]]:
    """Wall-clock seconds of each call so far, {name: [rounds]}, after each of so many rounds: a round calls each work
    once, the next begins with another. Before them each is called `warm` times."""
    for work in works.values():
        for _ in range(warm):
            work()
    seconds: dict[str, list[float]] = {name: [] for name in works}
    names = list(works)
    for first in (round % len(names) for round in range(rounds)):
        for name in names[first:] + names[:first]:
            began = time.perf_counter()
            works[name]()
            seconds[name].append(time.perf_counter() - began)
        yield seconds


def in_turn(
    works: Mapping[str, Work], rounds: int, progress: Callable[[str], None], warm: int = 2
) -> dict[str, list[float]]:
    """The seconds of all `rounds_in_turn`."""
    seconds: dict[str, list[float]] = {}
    for round, seconds in enumerate(rounds_in_turn(works, rounds, warm), start=1):
        progress(f"round {round} of {rounds}: " + ", ".join(f"{n} {s[-1]:.3g} s" for n, s in seconds.items()))
    return seconds


def synchronise(device: str) -> None:
    """Waits until a GPU has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def products(
    rows: int = 4096, inner: int = 128, columns: int = 512, times: int = 20, **factory: Any
) -> tuple[Work, float]:
    """Plain matrix products, by default float32 ones of the size that a small policy has: what the machine can do at
    best; and their FLOPs. factory: dtype and device."""
    a, b = torch.randn(rows, inner, **factory), torch.randn(inner, columns, **factory)
    out = torch.empty(rows, columns, **factory)

    def work() -> None:
        for _ in range(times):
            torch.mm(a, b, out=out)
        synchronise(out.device.type)

    return work, 2.0 * rows * inner * columns * times


def median(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in seconds.items()}


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["".join(f"| {cell} " if cell else "| " for cell in cells) + "|" for cells in (columns, *rows)]
    return "\n".join([lines[0], "|---" * len(columns) + "|", *lines[1:]])


def markdown(heading: str, *blocks: str) -> str:
    """A Markdown section; the lines of paragraphs are broken."""
    broken = [each if each[0] in "|!" else textwrap.fill(each, 116, break_on_hyphens=False) for each in blocks]
    return "\n\n".join([heading, *broken])
