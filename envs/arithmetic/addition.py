"""Addition of two numbers of equal length."""

import numpy as np

from envs.base import Problem
from envs.contexts import Content, Family
from envs.draw import number


def draw(rng: np.random.Generator, difficulty: int) -> Content:
    a, b = number(rng, difficulty), number(rng, difficulty)
    # 3+5 and 5+3 are one content: else memory of the one would pass for skill at the other.
    return Content(f"addition:{min(a, b)},{max(a, b)}", str(a + b), {"a": a, "b": b})


def worked(problem: Problem) -> str:
    """Column by column from the right: digit+digit+carry=sum."""
    a, b, carry, lines = problem.data["a"], problem.data["b"], 0, []
    while not lines or a or b or carry:
        column = a % 10 + b % 10 + carry
        lines.append(f"{a % 10}+{b % 10}+{carry}={column}")
        a, b, carry = a // 10, b // 10, column // 10
    return "\n".join([*lines, problem.answer])


TASKS = Family(
    "addition",
    draw,
    symbolic="{a}+{b}=",
    worded=(
        "What is {a} plus {b}?",
        "Add {a} and {b}.",
        "Find the sum of {a} and {b}.",
        "Ann has {a} pens and gets {b} more. How many now?",
        "If you count {b} up from {a}, where do you end?",
    ),
    widths=lambda d: {"a": d, "b": d, "answer": d + 1},
    difficulty_meaning="digits of each operand",
    answer_format=r"0|[1-9][0-9]*",
    guess_rate=0.01,
    worked=worked,
).tasks
