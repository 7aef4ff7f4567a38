"""A word that only the tool has: read it place by place, then write it."""

import numpy as np

from envs.base import Problem
from envs.contexts import Content, Family
from envs.draw import letters
from envs.tools import CALL, answer_or_call, table

LETTERS = "abcdefghij"


def draw(rng: np.random.Generator, difficulty: int) -> Content:
    word = letters(rng, difficulty, LETTERS)
    places = {str(place): letter for place, letter in enumerate(word, start=1)}
    return Content(f"spell:{word}", word, {"places": places, "length": difficulty})


def worked(problem: Problem) -> str:
    """A call for each place, then the word."""
    return "\n".join([*(CALL + place for place in problem.data["places"]), problem.answer])


TASKS = Family(
    "spell",
    draw,
    symbolic="read {length}:",
    worded=(
        "The hidden word has {length} letters. Which is it?",
        "Spell the word of length {length}.",
        "Read all {length} letters and say the word.",
    ),
    widths=lambda d: {"length": len(str(d)), "answer": max(d, 1 + len(str(d)))},
    difficulty_meaning="letters of the word",
    answer_format=r"[a-j]+",
    guess_rate=0.01,
    worked=worked,
    respond=answer_or_call(table("places")),
    max_turns=12,
    max_reply=4,
).tasks
