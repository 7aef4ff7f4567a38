"""A task for the tests, in two contexts; importing this registers it. Any completion that starts early in ASCII is
right, so an untrained policy already solves about four problems in ten, and every group carries signal."""

import re
from functools import partial

import numpy as np

from envs import Correctness, Problem, Task, register
from envs.draw import integer

PROMPTS = {"symbolic": "{}{}=", "worded": "Say {}{}."}


def draw(context: str, rng: np.random.Generator, difficulty: int) -> Problem:
    letter, number = chr(ord("a") + integer(rng, 0, 26)), integer(rng, 0, 10**difficulty)
    prompt = PROMPTS[context].format(letter, number)
    return Problem(f"toy.{context}", prompt, "A", difficulty, f"toy:{letter}{number}")


def verify(problem: Problem, completion: str) -> Correctness:
    return Correctness.CORRECT if "" < completion[:1] < "P" else Correctness.WRONG


def worked(problem: Problem) -> str:
    """The prompt's letter, its digits, then the answer."""
    letter, *digits = re.findall(r"[a-z](?=[0-9])|[0-9]+", problem.prompt)
    return "\n".join([letter, *digits, problem.answer])


for _context, _prompt in PROMPTS.items():
    register(
        Task(
            name=f"toy.{_context}",
            family="toy",
            context=_context,
            draw=partial(draw, _context),
            difficulties=(1, 2, 3),
            difficulty_meaning="digits",
            max_prompt=len(_prompt) - 1,
            max_completion=3,
            answer_format=r"[A-Z]",
            verify=verify,
            worked=worked,
            guess_rate=1.0,
        )
    )
