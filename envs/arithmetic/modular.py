"""Products modulo a two-digit prime: a composite one would make 0 the answer to guess."""

import numpy as np

from envs.base import Problem
from envs.contexts import Content, Family
from envs.draw import integer, number, pick

PRIMES = (11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97)


def draw(rng: np.random.Generator, difficulty: int) -> Content:
    a, b, m = number(rng, difficulty), integer(rng, 2, 10), pick(rng, PRIMES)
    return Content(f"modular:{a},{b},{m}", str(a * b % m), {"a": a, "b": b, "m": m})


def worked(problem: Problem) -> str:
    """The product, then its digits from the left, reduced as they come."""
    b, m, rest = problem.data["b"], problem.data["m"], 0
    product = problem.data["a"] * b
    lines = [f"{problem.data['a']}*{b}={product}"]
    for digit in str(product):
        down = 10 * rest + int(digit)
        rest = down % m
        lines.append(f"{down} mod {m}={rest}")
    return "\n".join([*lines, problem.answer])


TASKS = Family(
    "modular",
    draw,
    symbolic="{a}*{b} mod {m}=",
    worded=(
        "What is {a} times {b} modulo {m}?",
        "What is left of {a} times {b} after division by {m}?",
        "Multiply {a} by {b}; reduce it modulo {m}.",
        "{b} laps of {a} steps on a ring of {m}: where from 0?",
    ),
    widths=lambda d: {"a": d, "b": 1, "m": 2, "answer": 2},
    difficulty_meaning="digits of the first factor",
    answer_format=r"0|[1-9][0-9]?",
    guess_rate=0.04,
    worked=worked,
).tasks
