"""An expression too large to do in the head, and a calculator that takes one operation at a time."""

import re

from envs.arithmetic.expression import apply, largest, random_tree, render, steps, value
from envs.base import Problem
from envs.contexts import Content, Family
from envs.draw import Rng, integer
from envs.tools import CALL, answer_or_call

LARGEST = 99_999
DIGITS = len(str(LARGEST))
_OPERATION = re.compile(rf"(-?[0-9]{{1,{DIGITS}}})([-+*])(-?[0-9]{{1,{DIGITS}}})")


def draw(rng: Rng, difficulty: int) -> Content:
    while True:
        tree = random_tree(rng, [integer(rng, 2, 100) for _ in range(difficulty + 1)])
        if largest(tree) <= LARGEST:
            text = render(tree)
            return Content(f"chains:{text}", str(value(tree)), {"text": text, "tree": tree})


def calculate(problem: Problem, call: str) -> str:
    """The result of one operation on numbers of up to five digits, or "error"."""
    operation = _OPERATION.fullmatch(call)
    if operation is None:
        return "error"
    left, operator, right = operation.groups()
    return str(apply(operator, int(left), int(right)))


def worked(problem: Problem) -> str:
    """A call for each operation, then the answer."""
    calls = [CALL + line.split("=")[0] for line in steps(problem.data["tree"])]
    return "\n".join([*calls, problem.answer])


TASKS = Family(
    "calculator",
    draw,
    symbolic="calc {text}=",
    worded=(
        "With the calculator, work out {text}.",
        "Use your calculator: {text}?",
        "The bill is {text}. Compute it with the tool.",
    ),
    widths=lambda d: {"text": 2 * (d + 1) + d + 2 * max(0, d - 1), "answer": 2 * DIGITS + 4},
    difficulty_meaning="operations on numbers below 100; every value stays within 99,999",
    answer_format=r"0|-?[1-9][0-9]*",
    guess_rate=0.005,
    worked=worked,
    respond=answer_or_call(calculate),
    max_turns=12,
    max_reply=2 * DIGITS + 1,
).tasks
