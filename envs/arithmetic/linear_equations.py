"""Linear equations in one unknown."""

import numpy as np

from envs.base import Problem
from envs.contexts import Content, Family
from envs.draw import integer, number


def draw(rng: np.random.Generator, difficulty: int) -> Content:
    x = number(rng, (difficulty + 1) // 2)
    a, b = integer(rng, 2, 10), integer(rng, 1, 100)
    # Even difficulties have the unknown on both sides.
    c = 0 if difficulty % 2 else integer(rng, 1, a)
    right = a * x + b - c * x
    text = f"{a}x+{b}={right}" if c == 0 else f"{a}x+{b}={c}x+{right}"
    return Content(f"linear_equations:{text}", str(x), {"text": text, "a": a, "b": b, "c": c, "right": right})


def worked(problem: Problem) -> str:
    """Collect the unknown, then divide."""
    a, b, c, right = (problem.data[name] for name in ("a", "b", "c", "right"))
    return "\n".join([f"{a - c}x={right}-{b}={right - b}", f"x={right - b}/{a - c}", problem.answer])


def _widths(difficulty: int) -> dict[str, int]:
    digits = (difficulty + 1) // 2
    right = len(str(9 * (10**digits - 1) + 99))
    return {"text": 6 + right + 3 * (difficulty % 2 == 0), "answer": digits}


TASKS = Family(
    "linear_equations",
    draw,
    symbolic="{text}, x=",
    worded=(
        "Solve {text} for x.",
        "For which x does {text} hold?",
        "Find x if {text}.",
        "An x satisfies {text}. Which?",
    ),
    widths=_widths,
    difficulty_meaning="digits of x times two, minus one where x stands on one side only",
    answer_format=r"0|[1-9][0-9]*",
    guess_rate=0.025,
    worked=worked,
).tasks
