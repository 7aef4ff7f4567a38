"""Describe a list of numbers."""

import numpy as np

from envs.base import unscorable
from envs.contexts import Content, Family
from envs.draw import integer


def draw(rng: np.random.Generator, difficulty: int) -> Content:
    numbers = [integer(rng, 1, 100) for _ in range(difficulty + 1)]
    if rng.random() < 0.5:
        numbers.sort()
    order = "sorted" if numbers == sorted(numbers) else "unsorted"
    text = " ".join(map(str, numbers))
    answer = f"{len(numbers)} numbers. smallest {min(numbers)}. largest {max(numbers)}. {order}."
    return Content(f"describe:{text}", answer, {"text": text, "numbers": numbers})


TASKS = Family(
    "describe",
    draw,
    symbolic="describe {text}:",
    worded=(
        "Describe the list {text}.",
        "What can you say of {text}?",
        "Tell me about the numbers {text}.",
    ),
    widths=lambda d: {"text": 3 * d + 2, "answer": len("11 numbers. smallest 99. largest 99. unsorted.")},
    difficulty_meaning="numbers in the list minus one",
    answer_format=r"[ -~\n]+",
    guess_rate=0.002,
    verify=unscorable,
).tasks
