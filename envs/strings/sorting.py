"""The letters of a string in alphabetical order."""

import numpy as np

from envs.base import Problem
from envs.contexts import Content, Family
from envs.draw import letters


def draw(rng: np.random.Generator, difficulty: int) -> Content:
    text = letters(rng, difficulty + 1)
    return Content(f"sorting:{text}", "".join(sorted(text)), {"text": text})


def worked(problem: Problem) -> str:
    """Insertion: the sorted letters so far."""
    text = problem.data["text"]
    return "\n".join([f"{text[i]}: {''.join(sorted(text[: i + 1]))}" for i in range(len(text))] + [problem.answer])


TASKS = Family(
    "sorting",
    draw,
    symbolic="sort {text}=",
    worded=(
        "Sort the letters of {text}.",
        "Put {text} in alphabetical order.",
        "Which letters of {text} come first to last?",
        "Arrange {text} from a to z.",
    ),
    widths=lambda d: {"text": d + 1, "answer": d + 1},
    difficulty_meaning="letters minus one",
    answer_format=r"[a-z]+",
    worked=worked,
).tasks
