"""Predict what a program prints."""

import numpy as np

from envs.code.straight import longest, program, worked
from envs.contexts import Content, Family
from envs.draw import pick


def draw(rng: np.random.Generator, difficulty: int) -> Content:
    lines, states = program(rng, difficulty)
    name = pick(rng, "ab")
    text = "\n".join([*lines, f"print({name})"])
    return Content(f"output:{text}", str(states[-1][name]), {"text": text, "states": states})


TASKS = Family(
    "output",
    draw,
    symbolic="{text}\n",
    worded=(
        "What does this print?\n{text}",
        "Run this in your head:\n{text}",
        "{text}\nWhich number appears?",
        "Tell the output of\n{text}",
    ),
    widths=lambda d: {"text": longest(d) + len("print(a)"), "answer": 4},
    difficulty_meaning="statements after the two assignments",
    answer_format=r"0|-?[1-9][0-9]*",
    guess_rate=0.05,
    worked=worked,
).tasks
