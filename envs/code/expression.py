"""Write an expression from input and output examples; it must also be right where no example was shown."""

import numpy as np

from envs.arithmetic.expression import render
from envs.code.formula import draw_formula, examples, examples_width, tests, verify
from envs.contexts import Content, family


def draw(rng: np.random.Generator, difficulty: int) -> Content:
    tree = draw_formula(rng, difficulty)
    text = render(tree)
    return Content(f"expression:{text}", text, {"examples": examples(tree), "tests": tests(tree)})


TASKS = family(
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
)
