"""The last state of a semiautomaton of ten states that reads a word over 16 letters, each a fixed permutation.

The families differ in the letters that words are drawn from: how many letters RL rewards is the breadth of its task,
and the last eight letters are what it may never see. Which of the first eight come first is an order of several.
"""

from functools import partial

import numpy as np

from envs.base import Task
from envs.contexts import Content, Family
from envs.draw import letters, pick
from envs.lookup.tables import marked, path, permutations, worked

STATES = "0123456789"
LETTERS = "abcdefghijklmnop"
TABLES = permutations(LETTERS, STATES, seed=13)
ORDERS = ("abcdefgh", *("".join(order) for order in np.random.default_rng(15).permuted([list("abcdefgh")] * 3, axis=1)))
GROUPS = {
    "first1": LETTERS[:1],
    "first2": LETTERS[:2],
    "first4": LETTERS[:4],
    "first8": LETTERS[:8],
    "last8": LETTERS[8:],
    "all16": LETTERS,
} | {f"order{i}_{n}": ORDERS[i][:n] for i in (1, 2, 3) for n in (1, 2, 4)}


def draw(alphabet: str, rng: np.random.Generator, difficulty: int) -> Content:
    start, word = pick(rng, STATES), letters(rng, difficulty, alphabet)
    states, way = path(TABLES, start, word), marked(word)
    return Content(f"automaton:{start}{way}", states[-1], {"start": start, "word": way, "states": states})


def _group(name: str, alphabet: str) -> tuple[Task, ...]:
    return Family(
        f"automaton_{name}",
        partial(draw, alphabet),
        symbolic="{start}{word}=",
        worded=("In state {start} read {word}. Which state?", "From {start}, the word {word} leads where?"),
        widths=lambda d: {"start": 1, "word": 2 * d, "answer": 1},
        difficulty_meaning=f"letters of the word, drawn from {alphabet}",
        answer_format=r"[0-9]",
        guess_rate=0.1,
        worked=worked,
    ).tasks


TASKS = tuple(task for name, alphabet in GROUPS.items() for task in _group(name, alphabet))
