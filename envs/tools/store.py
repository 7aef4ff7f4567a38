"""A key-value store in which every value is a key: follow it so many times."""

from string import ascii_lowercase

import numpy as np

from envs.base import Problem
from envs.contexts import Content, Family
from envs.draw import shuffled
from envs.tools import CALL, answer_or_call, table


def draw(rng: np.random.Generator, difficulty: int) -> Content:
    ring = "".join(shuffled(rng, ascii_lowercase))
    path = ring[: difficulty + 1]
    slots = {"start": path[0], "hops": difficulty, "path": path, "store": dict(zip(ring, ring[1:] + ring[0]))}
    return Content(f"store:{path}", path[-1], slots)


def worked(problem: Problem) -> str:
    """A call for each hop, then the answer."""
    return "\n".join([CALL + key for key in problem.data["path"][:-1]] + [problem.answer])


TASKS = Family(
    "store",
    draw,
    symbolic="hop {hops} from {start}:",
    worded=(
        "Start at {start}, look up {hops} times. Where are you?",
        "Follow the store {hops} times from key {start}.",
        "Which key is {hops} steps after {start}?",
    ),
    widths=lambda d: {"hops": len(str(d)), "start": 1, "answer": 2},
    difficulty_meaning="look-ups needed",
    answer_format=r"[a-z]",
    guess_rate=0.04,
    worked=worked,
    respond=answer_or_call(table("store")),
    max_turns=12,
    max_reply=4,
).tasks
