"""Numbers written in another base."""

import numpy as np

from envs.base import Problem
from envs.contexts import Content, Family
from envs.draw import integer


def digits(n: int, base: int) -> str:
    """n in that base, 2 to 10."""
    text = ""
    while n:
        n, digit = divmod(n, base)
        text = str(digit) + text
    return text or "0"


def draw(rng: np.random.Generator, difficulty: int) -> Content:
    n, base = integer(rng, 2 ** (difficulty + 2), 2 ** (difficulty + 3)), integer(rng, 2, 10)
    return Content(f"base_conversion:{n},{base}", digits(n, base), {"n": n, "base": base})


def worked(problem: Problem) -> str:
    """Division by the base until nothing is left; the remainders read upwards."""
    n, base, lines = problem.data["n"], problem.data["base"], []
    while n:
        lines.append(f"{n}/{base}={n // base} r {n % base}")
        n //= base
    return "\n".join([*lines, problem.answer])


TASKS = Family(
    "base_conversion",
    draw,
    symbolic="{n} in base {base}=",
    worded=(
        "Write {n} in base {base}.",
        "How is {n} written with the {base} digits from 0?",
        "Convert {n} from base ten to base {base}.",
        "What does {n} look like in base {base}?",
    ),
    widths=lambda d: {"n": len(str(2 ** (d + 3))), "base": 1, "answer": d + 3},
    difficulty_meaning="binary digits minus three",
    answer_format=r"0|[1-9][0-9]*",
    guess_rate=0.015,
    worked=worked,
).tasks
