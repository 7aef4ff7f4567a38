"""A word in a code that only the tool has: look up letter by letter, then write the word."""

import numpy as np

from envs.base import Problem
from envs.contexts import Content, Family
from envs.draw import letters, shuffled
from envs.tools import CALL, answer_or_call, table

LETTERS = "abcdefghij"


def draw(rng: np.random.Generator, difficulty: int) -> Content:
    code = dict(zip(LETTERS, shuffled(rng, LETTERS)))
    word = letters(rng, difficulty, LETTERS)
    secret = "".join(code[letter] for letter in word)
    return Content(f"translate:{word}>{secret}", secret, {"word": word, "code": code})


def worked(problem: Problem) -> str:
    """A call for each letter, then the word."""
    return "\n".join([*(CALL + letter for letter in problem.data["word"]), problem.answer])


TASKS = Family(
    "translate",
    draw,
    symbolic="code {word}:",
    worded=(
        "Write {word} in the tool's code.",
        "Letter by letter, encode {word}.",
        "What is {word} in code?",
    ),
    widths=lambda d: {"word": d, "answer": max(d, 2)},
    difficulty_meaning="letters of the word",
    answer_format=r"[a-j]+",
    guess_rate=0.01,
    worked=worked,
    respond=answer_or_call(table("code")),
    max_turns=12,
    max_reply=4,
).tasks
