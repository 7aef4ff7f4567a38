"""Division with remainder."""

import numpy as np

from envs.base import Problem
from envs.contexts import Content, Family
from envs.draw import integer, number


def draw(rng: np.random.Generator, difficulty: int) -> Content:
    a = number(rng, difficulty + 1)
    b = integer(rng, 2, 10) if difficulty <= 5 else integer(rng, 11, 100)
    return Content(f"division:{a},{b}", f"{a // b} r {a % b}", {"a": a, "b": b})


def worked(problem: Problem) -> str:
    """Long division: for each digit of a, the number brought down, its quotient digit and what is left."""
    b, rest, lines = problem.data["b"], 0, []
    for digit in str(problem.data["a"]):
        down = 10 * rest + int(digit)
        rest = down % b
        lines.append(f"{down}/{b}={down // b} r {rest}")
    return "\n".join([*lines, problem.answer])


TASKS = Family(
    "division",
    draw,
    symbolic="{a}/{b}=",
    worded=(
        "Divide {a} by {b}, with remainder.",
        "How often does {b} go into {a}, and what is left?",
        "{a} pens fill boxes of {b}. How many boxes, what rest?",
        "Give quotient r remainder of {a} over {b}.",
    ),
    widths=lambda d: {"a": d + 1, "b": 1 + (d > 5), "answer": d + 5 + (d > 5)},
    difficulty_meaning="digits of the dividend minus one; the divisor has one digit, above 5 two",
    answer_format=r"(0|[1-9][0-9]*) r (0|[1-9][0-9]*)",
    guess_rate=0.0,
    worked=worked,
).tasks
