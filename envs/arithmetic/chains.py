"""Chains of operations with precedence and parentheses."""

import numpy as np

from envs.arithmetic.expression import random_tree, render, steps, value
from envs.base import Problem
from envs.contexts import Content, Family
from envs.draw import integer

LARGEST = 999


def draw(rng: np.random.Generator, difficulty: int) -> Content:
    while True:
        # No zeros: products with them would make 0 the answer to guess.
        tree = random_tree(rng, [integer(rng, 1, 10) for _ in range(difficulty + 1)])
        if abs(value(tree)) <= LARGEST:
            text = render(tree)
            return Content(f"chains:{text}", str(value(tree)), {"text": text, "tree": tree})


def worked(problem: Problem) -> str:
    """One operation a line, innermost first."""
    return "\n".join([*steps(problem.data["tree"]), problem.answer])


TASKS = Family(
    "chains",
    draw,
    symbolic="{text}=",
    worded=(
        "What is {text}?",
        "Work out {text}.",
        "Find the value of {text}.",
        "The bill says {text}. What is the total?",
    ),
    widths=lambda d: {"text": 4 * d - 1, "answer": 4},
    difficulty_meaning="operations on one-digit numbers; the value stays within 999",
    answer_format=r"0|-?[1-9][0-9]*",
    guess_rate=0.03,
    worked=worked,
).tasks
