"""A digit string folded from the left by one of six operations modulo ten: a family for each operation.

All share the procedure and differ in the table: RL may reward three of them; the other three show what carries over.
"""

from collections.abc import Callable
from functools import partial
from itertools import accumulate

from envs.base import Task
from envs.contexts import Content, Family
from envs.draw import Rng, letters
from envs.lookup.tables import marked, worked

DIGITS = "0123456789"


# With its symbol and formula. Each is a bijection of b, so that every answer is as frequent as any other.
OPERATIONS: dict[str, tuple[Callable[[int, int], int], str, str]] = {
    "sum": (lambda a, b: (a + b) % 10, "+", "a+b"),
    "difference": (lambda a, b: (a - b) % 10, "-", "a-b"),
    "double": (lambda a, b: (2 * a + b) % 10, "*", "2a+b"),
    "triple": (lambda a, b: (3 * a + b) % 10, "/", "3a+b"),
    "weighted": (lambda a, b: (a + 3 * b) % 10, "%", "a+3b"),
    "complement": (lambda a, b: (9 - a - b) % 10, "&", "9-a-b"),
}


def draw(name: str, rng: Rng, difficulty: int) -> Content:
    text = letters(rng, difficulty + 1, DIGITS)
    operation, symbol, _ = OPERATIONS[name]
    values = [str(value) for value in accumulate(map(int, text), operation)]
    steps = [text[0], *(symbol + digit + value for digit, value in zip(text[1:], values[1:]))]
    # A4B+82C+24: behind its mark each look-up, of the value so far by the operation and the digit.
    return Content(f"fold:{name}:{text}", values[-1], {"digits": marked(text), "states": steps})


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
        difficulty_meaning=f"digits minus one; a value a and the next digit b make {formula} mod 10",
        answer_format=r"[0-9]",
        guess_rate=0.1,
        worked=worked,
    ).tasks


TASKS = tuple(task for name in OPERATIONS for task in _operation(name))
