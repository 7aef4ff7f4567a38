"""The largest number of a list."""

import numpy as np

from envs.base import Problem
from envs.contexts import Content, Family
from envs.draw import integer


def draw(rng: np.random.Generator, difficulty: int) -> Content:
    # The maximum is drawn first, uniformly: were the items uniform, "99" would be right ever more often on long lists.
    largest = integer(rng, 10, 100)
    items = [integer(rng, 10, largest + 1) for _ in range(difficulty)]
    items.insert(integer(rng, 0, difficulty + 1), largest)
    text = " ".join(map(str, items))
    return Content(f"maximum:{text}", str(largest), {"items": text})


def worked(problem: Problem) -> str:
    """The largest so far, item by item."""
    largest, lines = 0, []
    for item in map(int, problem.data["items"].split()):
        largest = max(largest, item)
        lines.append(f"{item}: {largest}")
    return "\n".join([*lines, problem.answer])


TASKS = Family(
    "maximum",
    draw,
    symbolic="max {items}=",
    worded=(
        "Which is the largest of {items}?",
        "Find the biggest number in {items}.",
        "The scores were {items}. What was the best?",
        "Name the maximum of the list {items}.",
    ),
    widths=lambda d: {"items": 3 * d + 2, "answer": 2},
    difficulty_meaning="numbers in the list minus one",
    answer_format=r"[1-9][0-9]",
    guess_rate=0.02,
    worked=worked,
).tasks
