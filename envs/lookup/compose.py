"""Compositions of six functions of two letters, each a fixed permutation of ten letters: f(g(ab)) to depth six.

`compose_single` asks for one function. Of the 36 ordered pairs of functions half are the compositions of `compose`,
half of `compose_held_out`, as in envs/strings/composition.py. Accuracy at depth d can be set against that of d single
steps.
"""

from functools import partial
from itertools import accumulate

from envs.base import Problem, Task
from envs.contexts import Content, Family
from envs.draw import Rng, letters
from envs.lookup.tables import permutations
from envs.strings.composition import NAMES, random_chain

LETTERS = "abcdefghij"
LENGTH = 2
DEEPEST = 6
TABLES = permutations(NAMES, LETTERS, seed=19)


def results(chain: str, text: str) -> list[str]:
    """The values after each function, innermost (the last of `chain`) first."""
    tables = (str.maketrans(dict(TABLES[name])) for name in reversed(chain))
    return list(accumulate(tables, str.translate, initial=text))[1:]


def draw(held_out: bool, rng: Rng, difficulty: int) -> Content:
    chain, text = random_chain(held_out, rng, difficulty), letters(rng, LENGTH, LETTERS)
    nested = "(".join(chain) + f"({text}" + ")" * len(chain)
    slots = {"nested": nested, "order": " ".join(reversed(chain)), "chain": chain, "text": text}
    return Content(f"compose:{nested}", results(chain, text)[-1], slots)


def worked(problem: Problem) -> str:
    """From the inside out, each function before its value."""
    chain, text = problem.data["chain"], problem.data["text"]
    steps = " ".join(name + value for name, value in zip(reversed(chain), results(chain, text)))
    return f"{steps}\n{problem.answer}"


def _tasks(name: str, held_out: bool, depths: range, meaning: str) -> tuple[Task, ...]:
    return Family(
        name,
        partial(draw, held_out),
        symbolic="{nested}=",
        worded=("Apply {order} in turn to {text}.", "What do {order}, in this order, make of {text}?"),
        widths=lambda d: {"nested": 3 * d + LENGTH, "order": 2 * d - 1, "text": LENGTH, "answer": LENGTH},
        difficulty_meaning=meaning,
        answer_format=r"[a-j]+",
        guess_rate=0.01,
        worked=worked,
        difficulties=depths,
    ).tasks


TASKS = (
    *_tasks("compose_single", False, range(1, 2), "1: a single function"),
    *_tasks("compose", False, range(2, DEEPEST + 1), "depth"),
    *_tasks("compose_held_out", True, range(2, DEEPEST + 1), "depth, of pairs that compose never shows"),
)
