"""The task of the timings: letters to read, any text to write, and checks that ask no skill.

Prompt and completion have the lengths that a row of a table names, so that an untrained policy does for both sides. Of
the problems of bench.half every second is silent: whatever is written gets the same reward, as where a policy always or
never succeeds. All other completions are right half of the time, by chance. In bench.full no group is silent.
"""

from functools import partial

import numpy as np

from envs.base import Correctness, Problem, Task
from envs.draw import letters
from envs.registry import TASKS, register

FRAME = 2  # tokens that a prompt has beside its letters
LONGEST = 1024


def draw(name: str, rng: np.random.Generator, difficulty: int) -> Problem:
    text = letters(rng, difficulty)
    return Problem(f"bench.{name}", text, "a", difficulty, f"bench:{text}")


def is_right(name: str, prompt: str, completion: str) -> bool:
    """By the first character, or, of a silent problem, by its own first letter."""
    silent = name == "half" and ord(prompt[-1]) % 2 == 0
    judged = prompt if silent else completion
    return bool(judged) and ord(judged[0]) % 2 == 0


def _verify(name: str, problem: Problem, completion: str) -> Correctness:
    return Correctness.CORRECT if is_right(name, problem.prompt, completion) else Correctness.WRONG


def task_of(name: str) -> Task:
    """bench.half or bench.full; difficulty is the number of letters."""
    return Task(
        name=f"bench.{name}",
        family="bench",
        context=name,
        draw=partial(draw, name),
        difficulties=tuple(range(4, LONGEST + 1)),
        difficulty_meaning="letters",
        max_prompt=LONGEST,
        max_completion=1,
        answer_format=r"(?s:.*)",
        verify=partial(_verify, name),
        bounds=lambda difficulty: (difficulty, 1),
    )


for _name in ("half", "full"):
    if f"bench.{_name}" not in TASKS:
        register(task_of(_name))
