"""Which of two numbers is larger. They share a prefix of random length, so that the first digits do not tell."""

import numpy as np

from envs.base import Problem
from envs.contexts import Content, Family
from envs.draw import integer, letters, number, pick

DIGITS = "0123456789"


def draw(rng: np.random.Generator, difficulty: int) -> Content:
    a = b = str(number(rng, difficulty))
    relation = pick(rng, "<=>")
    if relation != "=":
        place = integer(rng, 0, difficulty)
        lowest = 1 if place == 0 and difficulty > 1 else 0
        low = integer(rng, lowest, 9)
        high = integer(rng, low + 1, 10)
        tails = [letters(rng, difficulty - place - 1, DIGITS) for _ in range(2)]
        small, large = f"{a[:place]}{low}{tails[0]}", f"{a[:place]}{high}{tails[1]}"
        a, b = (small, large) if relation == "<" else (large, small)
    return Content(f"comparison:{a},{b}", relation, {"a": a, "b": b})


def worked(problem: Problem) -> str:
    """Digit pairs from the left up to the first that differ."""
    lines = []
    for a, b in zip(problem.data["a"], problem.data["b"]):
        lines.append(f"{a}{'<' if a < b else '>' if a > b else '='}{b}")
        if a != b:
            break
    return "\n".join([*lines, problem.answer])


TASKS = Family(
    "comparison",
    draw,
    symbolic="{a} ? {b}:",
    worded=(
        "Compare {a} with {b}: <, = or >?",
        "Which sign belongs between {a} and {b}?",
        "Put <, = or > between {a} and {b}.",
    ),
    widths=lambda d: {"a": d, "b": d, "answer": 1},
    difficulty_meaning="digits of each number",
    answer_format=r"[<=>]",
    guess_rate=0.345,
    worked=worked,
).tasks
