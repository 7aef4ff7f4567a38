"""Explain the steps of an addition."""

import numpy as np

from envs.arithmetic import addition
from envs.base import Problem, unscorable
from envs.contexts import Content, Family


def draw(rng: np.random.Generator, difficulty: int) -> Content:
    content = addition.draw(rng, difficulty)
    problem = Problem("", "", content.answer, difficulty, content.key, content.slots)
    steps = addition.worked(problem).replace("\n", ", ")
    return Content(content.key, steps, {**content.slots, "digits": difficulty})


TASKS = Family(
    "explain",
    draw,
    symbolic="explain {a}+{b}:",
    worded=(
        "Explain step by step how to add {a} and {b}.",
        "Show your steps: {a} plus {b}.",
        "How does one work out {a} and {b} together?",
    ),
    widths=lambda d: {"a": d, "b": d, "answer": len("9+9+1=19, ") * d + len("0+0+1=1, ") + d + 1},
    difficulty_meaning="digits of each operand",
    answer_format=r"[ -~\n]+",
    verify=unscorable,
).tasks
