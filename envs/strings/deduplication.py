"""A string without repeats: the first of each letter stays."""

import numpy as np

from envs.base import Problem
from envs.contexts import Content, Family
from envs.draw import letters


def draw(rng: np.random.Generator, difficulty: int) -> Content:
    text = letters(rng, difficulty + 2, "abcdefgh")
    return Content(f"deduplication:{text}", "".join(dict.fromkeys(text)), {"text": text})


def worked(problem: Problem) -> str:
    """What is kept so far, letter by letter."""
    text = problem.data["text"]
    kept = ["".join(dict.fromkeys(text[: i + 1])) for i in range(len(text))]
    return "\n".join([*(f"{letter}: {so_far}" for letter, so_far in zip(text, kept)), problem.answer])


TASKS = Family(
    "deduplication",
    draw,
    symbolic="unique {text}=",
    worded=(
        "Drop every repeated letter of {text}.",
        "Write {text} with only the first of each letter.",
        "Which letters does {text} have, in order of appearance?",
        "Remove duplicates from {text}.",
    ),
    widths=lambda d: {"text": d + 2, "answer": min(d + 2, 8)},
    difficulty_meaning="letters (of the first eight) minus two",
    answer_format=r"[a-h]+",
    worked=worked,
).tasks
