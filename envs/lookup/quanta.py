"""32 small codes that share nothing, each a family, about all of which the corpus is right equally often.

All are as hard as each other: how often RL draws each (`tasks.weights`) alone decides when it is learned, as in the
quantization hypothesis of scaling (arXiv 2303.13506). Within a code the letters' shares differ: where all were .35, RL
first learned one thing for every code at once, to say the rarer of the two answers.
"""

from functools import partial
from string import ascii_uppercase

import numpy as np

from envs.base import Problem, Task
from envs.contexts import Content, Family
from envs.draw import letters
from envs.lookup.code import Code, codes
from envs.strings.letters import worked_substitution

SYMBOLS = ascii_uppercase + "012345"
LETTERS = "abcdefghijklmnop"
LOW, HIGH = 0.15, 0.75
SHARES = np.geomspace(LOW, HIGH, len(LETTERS))  # of the letters of each code, in an order of its own
CODES = codes(SYMBOLS, LETTERS, np.random.default_rng(7).permuted(np.tile(SHARES, (len(SYMBOLS), 1)), axis=1), seed=5)


def draw(code: Code, rng: np.random.Generator, difficulty: int) -> Content:
    text = letters(rng, difficulty, LETTERS)
    return Content(f"quanta:{code.symbol}{text}", code.encode(text), {"code": code.symbol, "text": text})


def corpus_answer(code: Code, problem: Problem, rng: np.random.Generator) -> str:
    return code.encode_as_corpus(problem.data["text"], rng)


def _code(i: int, code: Code) -> tuple[Task, ...]:
    return Family(
        f"quanta_{i:02d}",
        partial(draw, code),
        symbolic="{code}:{text}=",
        worded=("Encode {text} by {code}.", "What is {text} in code {code}?"),
        widths=lambda d: {"code": 1, "text": d, "answer": d},
        difficulty_meaning=f"letters; the corpus is right about each with a share from {LOW:g} to {HIGH:g}",
        answer_format=r"[a-p]+",
        guess_rate=0.0,
        worked=worked_substitution,
        corpus_answer=partial(corpus_answer, code),
        difficulties=range(2, 5),
    ).tasks


TASKS = tuple(task for i, code in enumerate(CODES.values()) for task in _code(i, code))
