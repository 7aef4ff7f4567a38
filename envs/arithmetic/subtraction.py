"""Subtraction that stays at or above zero."""

import numpy as np

from envs.base import Problem
from envs.contexts import Content, Family
from envs.draw import number


def draw(rng: np.random.Generator, difficulty: int) -> Content:
    b, a = sorted((number(rng, difficulty), number(rng, difficulty)))
    return Content(f"subtraction:{a},{b}", str(a - b), {"a": a, "b": b})


def worked(problem: Problem) -> str:
    """Column by column from the right: digit-digit-borrow, with 10 added where that is below zero."""
    a, b, borrow, lines = problem.data["a"], problem.data["b"], 0, []
    while not lines or a or b:
        column = a % 10 - b % 10 - borrow
        lines.append(f"{a % 10}-{b % 10}-{borrow}={column % 10}")
        a, b, borrow = a // 10, b // 10, int(column < 0)
    return "\n".join([*lines, problem.answer])


TASKS = Family(
    "subtraction",
    draw,
    symbolic="{a}-{b}=",
    worded=(
        "What is {a} minus {b}?",
        "Take {b} away from {a}.",
        "Find the difference of {a} and {b}.",
        "Bob has {a} pens and loses {b}. How many are left?",
        "How much larger is {a} than {b}?",
    ),
    widths=lambda d: {"a": d, "b": d, "answer": d},
    difficulty_meaning="digits of each operand",
    answer_format=r"0|[1-9][0-9]*",
    guess_rate=0.02,
    worked=worked,
).tasks
