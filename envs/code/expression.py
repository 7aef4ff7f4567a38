"""Write an expression from input and output examples; it must also be right where no example was shown."""

import itertools

import numpy as np

from envs.arithmetic.expression import render
from envs.base import Problem
from envs.code.formula import SHOWN, draw_formula, examples, examples_width, tests, verify
from envs.contexts import Content, Family


def draw(rng: np.random.Generator, difficulty: int) -> Content:
    tree = draw_formula(rng, difficulty)
    text = render(tree)
    return Content(f"expression:{text}", text, {"examples": examples(tree), "tests": tests(tree)})


def worked(problem: Problem) -> str:
    """How fast the shown values grow, then the formula."""
    values = problem.data["tests"]
    pairs = itertools.pairwise(SHOWN)
    return "\n".join([*(f"{x}>{y}: {values[y] - values[x]}" for x, y in pairs), problem.answer])


TASKS = Family(
    "expression",
    draw,
    symbolic="{examples} f(x)=",
    worded=(
        "Given {examples}, write f(x) in Python.",
        "Which expression has {examples}?",
        "Find f such that {examples}.",
    ),
    widths=lambda d: {"examples": examples_width(), "answer": 4 * d - 1},
    difficulty_meaning="operations in the formula that was meant",
    answer_format=r"[-+*/%()0-9x ]+",
    guess_rate=0.01,
    verify=verify,
    worked=worked,
).tasks
