"""Fixed random permutations, and chains of look-ups in them.

The places of a chain are marked A, B, C …: a step is found by its mark, where a small policy cannot count.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from string import ascii_uppercase

import numpy as np

from envs.base import Problem

MARKS = ascii_uppercase
Table = Mapping[str, str]


def permutations(names: Iterable[str], states: str, seed: int) -> dict[str, Table]:
    """A permutation of `states` for each name, the same on every machine."""
    rng = np.random.default_rng(seed)
    return {name: dict(zip(states, [states[i] for i in rng.permutation(len(states))])) for name in names}


def path(tables: Mapping[str, Table], start: str, moves: Sequence[str]) -> list[str]:
    """The state after each move."""
    return list(accumulate(moves, lambda state, move: tables[move][state], initial=start))[1:]


def marked(symbols: Sequence[str]) -> str:
    """A+B*C-: each symbol after the mark of its place."""
    return "".join(mark + symbol for mark, symbol in zip(MARKS, symbols))


def worked(problem: Problem) -> str:
    """The state after each look-up of a chain, behind the mark of its place."""
    return f"{marked(problem.data['states'])}\n{problem.answer}"
