"""A digit string folded from the left by one of six operations modulo ten: a family for each operation.

All share the procedure and differ in the table: RL may reward three of them; the other three show what carries over.
"""

from collections.abc import Callable
from functools import partial
from itertools import accumulate

import numpy as np

from envs.base import Problem, Task
from envs.contexts import Content, Family
from envs.draw import letters
from envs.lookup.tables import marked

DIGITS = "0123456789"


def _sum(a: int, b: int) -> int:
    return (a + b) % 10


def _difference(a: int, b: int) -> int:
    return (a - b) % 10


def _double(a: int, b: int) -> int:
    return (2 * a + b) % 10


def _triple(a: int, b: int) -> int:
    return (3 * a + b) % 10


def _weighted(a: int, b: int) -> int:
    return (a + 3 * b) % 10


def _complement(a: int, b: int) -> int:
    return (9 - a - b) % 10


# With its symbol and formula. Each is a bijection of b, so that every answer is as frequent as any other.
OPERATIONS: dict[str, tuple[Callable[[int, int], int], str, str]] = {
    "sum": (_sum, "+", "a+b"),
    "difference": (_difference, "-", "a-b"),
    "double": (_double, "*", "2a+b"),
    "triple": (_triple, "/", "3a+b"),
    "weighted": (_weighted, "%", "a+3b"),
    "complement": (_complement, "&", "9-a-b"),
}


def draw(name: str, rng: np.random.Generator, difficulty: int) -> Content:
    text = letters(rng, difficulty + 1, DIGITS)
    operation, symbol, _ = OPERATIONS[name]
    values = [str(value) for value in accumulate(map(int, text), operation)]
    steps = [text[0], *(symbol + digit + value for digit, value in zip(text[1:], values[1:]))]
    return Content(f"fold:{name}:{text}", values[-1], {"digits": marked(text), "steps": steps})


def worked(problem: Problem) -> str:
    """A4B+82C+24: behind its mark each look-up, of the value so far by the operation and the digit."""
    return f"{marked(problem.data['steps'])}\n{problem.answer}"


def _operation(name: str) -> tuple[Task, ...]:
    _, symbol, formula = OPERATIONS[name]
    return Family(
        f"fold_{name}",
        partial(draw, name),
        symbolic=symbol + "{digits}=",
        worded=(
            f"Fold {{digits}} by {symbol}.",
            f"What is left of {{digits}} under {symbol}?",
            f"Take {symbol} along {{digits}}.",
        ),
        widths=lambda d: {"digits": 2 * d + 2, "answer": 1},
        difficulty_meaning=f"digits, less one; a value a and the next digit b make {formula} mod 10",
        answer_format=r"[0-9]",
        guess_rate=0.1,
        worked=worked,
    ).tasks


TASKS = tuple(task for name in OPERATIONS for task in _operation(name))
