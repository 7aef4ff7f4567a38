"""How often a letter stands in a string."""

import numpy as np

from envs.base import Problem
from envs.contexts import Content, Family
from envs.draw import integer, letters, pick, shuffled

ALPHABET = "abcdefghijklmnopqrstuvwxyz"
MOST = 4


def draw(rng: np.random.Generator, difficulty: int) -> Content:
    # The count is drawn first, uniformly, so that guessing is worth the same at every length.
    letter, count = pick(rng, ALPHABET), integer(rng, 0, MOST + 1)
    rest = letters(rng, difficulty + 4 - count, ALPHABET.replace(letter, ""))
    text = "".join(shuffled(rng, letter * count + rest))
    return Content(f"counting:{letter},{text}", str(count), {"letter": letter, "text": text})


def worked(problem: Problem) -> str:
    """The count so far, letter by letter."""
    text, letter = problem.data["text"], problem.data["letter"]
    counts = [text[: i + 1].count(letter) for i in range(len(text))]
    return "\n".join([*(f"{seen}: {count}" for seen, count in zip(text, counts)), problem.answer])


TASKS = Family(
    "counting",
    draw,
    symbolic="count {letter} {text}=",
    worded=(
        "How many times is {letter} in {text}?",
        "Count the letter {letter} in {text}.",
        "How often does {text} contain {letter}?",
        "Of all letters of {text}, how many are {letter}?",
    ),
    widths=lambda d: {"letter": 1, "text": d + 4, "answer": 1},
    difficulty_meaning="letters minus four; the count is 0 to 4",
    answer_format=r"[0-9]",
    guess_rate=0.21,
    worked=worked,
).tasks
