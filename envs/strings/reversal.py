"""A string backwards."""

import numpy as np

from envs.base import Problem
from envs.contexts import Content, Family
from envs.draw import letters


def draw(rng: np.random.Generator, difficulty: int) -> Content:
    text = letters(rng, difficulty + 1)
    return Content(f"reversal:{text}", text[::-1], {"text": text})


def worked(problem: Problem) -> str:
    """Letter by letter onto the front."""
    text = problem.data["text"]
    return "\n".join([f"{text[i]}: {text[i::-1]}" for i in range(len(text))] + [problem.answer])


TASKS = Family(
    "reversal",
    draw,
    symbolic="reverse {text}=",
    worded=(
        "Write {text} backwards.",
        "What is {text} spelled from the end?",
        "Turn the word {text} around.",
        "Read {text} from right to left.",
    ),
    widths=lambda d: {"text": d + 1, "answer": d + 1},
    difficulty_meaning="letters minus one",
    answer_format=r"[a-z]+",
    worked=worked,
).tasks
