"""Greatest common divisor."""

import math

import numpy as np

from envs.base import Problem
from envs.contexts import Content, Family
from envs.draw import integer


def draw(rng: np.random.Generator, difficulty: int) -> Content:
    # The answer is drawn first, uniformly: the gcd of uniform numbers is 1 six times in ten.
    divisor = integer(rng, 1, 31)
    while True:
        x, y = (integer(rng, 1, 3 * 2**difficulty + 1) for _ in range(2))
        if math.gcd(x, y) == 1:
            a, b = divisor * x, divisor * y
            return Content(f"gcd:{min(a, b)},{max(a, b)}", str(divisor), {"a": a, "b": b})


def worked(problem: Problem) -> str:
    """Euclid's remainders."""
    a, b, lines = problem.data["a"], problem.data["b"], []
    while b:
        lines.append(f"{a} mod {b}={a % b}")
        a, b = b, a % b
    return "\n".join([*lines, problem.answer])


def _width(difficulty: int) -> int:
    return len(str(90 * 2**difficulty))


TASKS = Family(
    "gcd",
    draw,
    symbolic="gcd {a} {b}=",
    worded=(
        "What is the greatest common divisor of {a} and {b}?",
        "Which largest number divides both {a} and {b}?",
        "Find the highest common factor of {a} and {b}.",
        "{a} pens, {b} cups: most kits, all alike, none left?",
    ),
    widths=lambda d: {"a": _width(d), "b": _width(d), "answer": 2},
    difficulty_meaning="log2 of the largest cofactor over 3; the divisor is up to 30",
    answer_format=r"[1-9][0-9]*",
    guess_rate=0.035,
    worked=worked,
).tasks
