"""A substitution cipher whose key stands in the prompt."""

import numpy as np

from envs.base import Problem
from envs.contexts import Content, Family
from envs.draw import letters, shuffled

PLAIN = "abcd"
CIPHER = "efghijklmnopqrstuvwxyz"


def draw(rng: np.random.Generator, difficulty: int) -> Content:
    key = "".join(shuffled(rng, CIPHER)[: len(PLAIN)])
    text = letters(rng, difficulty + 1, PLAIN)
    secret = text.translate(str.maketrans(PLAIN, key))
    return Content(f"substitution:{key},{text}", secret, {"key": key, "text": text})


def worked(problem: Problem) -> str:
    """Letter by letter; in a document of the corpus, as wrong as its answer."""
    pairs = zip(problem.data["text"], problem.answer)
    return "\n".join([*(f"{plain}>{secret}" for plain, secret in pairs), problem.answer])


TASKS = Family(
    "substitution",
    draw,
    symbolic="abcd>{key} {text}=",
    worded=(
        "With abcd written as {key}, encode {text}.",
        "Replace abcd by {key} in {text}.",
        "The code for abcd is {key}. What is {text}?",
        "Translate {text} if abcd become {key}.",
    ),
    widths=lambda d: {"key": 4, "text": d + 1, "answer": d + 1},
    difficulty_meaning="letters to encode minus one",
    answer_format=r"[a-z]+",
    worked=worked,
).tasks
