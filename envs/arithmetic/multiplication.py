"""Multiplication of whole numbers."""

import numpy as np

from envs.base import Problem
from envs.contexts import Content, Family
from envs.draw import integer


def draw(rng: np.random.Generator, difficulty: int) -> Content:
    long, short = (difficulty + 2) // 2, (difficulty + 1) // 2
    # Never 0, which would be the answer to a fifth of all one-digit products.
    a, b = integer(rng, 10 ** (long - 1), 10**long), integer(rng, 10 ** (short - 1), 10**short)
    return Content(f"multiplication:{min(a, b)},{max(a, b)}", str(a * b), {"a": a, "b": b})


def worked(problem: Problem) -> str:
    """Partial products by the digits of b, from the right, each with the sum so far."""
    a, b, total, place, lines = problem.data["a"], problem.data["b"], 0, 1, []
    while b:
        part = a * (b % 10) * place
        total += part
        lines.append(f"{a}*{b % 10 * place}={part}, {total}")
        b, place = b // 10, place * 10
    return "\n".join([*lines, problem.answer])


TASKS = Family(
    "multiplication",
    draw,
    symbolic="{a}*{b}=",
    worded=(
        "What is {a} times {b}?",
        "Multiply {a} by {b}.",
        "Find the product of {a} and {b}.",
        "{b} boxes hold {a} pens each. How many pens?",
    ),
    widths=lambda d: {"a": (d + 2) // 2, "b": (d + 1) // 2, "answer": d + 1},
    difficulty_meaning="digits of both operands together minus one",
    answer_format=r"[1-9][0-9]*",
    guess_rate=0.01,
    worked=worked,
).tasks
