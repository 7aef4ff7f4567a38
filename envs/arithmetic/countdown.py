"""Reach a target from given numbers: many answers are right, so the verifier computes."""

import numpy as np

from envs.arithmetic.expression import random_tree, read, render, steps, value
from envs.base import Correctness, Problem
from envs.contexts import Content, Family
from envs.draw import integer, shuffled

LARGEST = 999


def draw(rng: np.random.Generator, difficulty: int) -> Content:
    count, above = (difficulty + 3) // 2, 10 if difficulty % 2 else 100
    while True:
        leaves = [integer(rng, 1, above) for _ in range(count)]
        tree = random_tree(rng, leaves)
        target = value(tree)
        if 0 < target <= LARGEST:
            numbers = " ".join(map(str, shuffled(rng, leaves)))
            key = f"countdown:{','.join(map(str, sorted(leaves)))}:{target}"
            slots = {"numbers": numbers, "target": target, "leaves": sorted(leaves), "tree": tree}
            return Content(key, render(tree), slots)


def verify(problem: Problem, completion: str) -> Correctness:
    """CORRECT if the expression uses each number once and has the target's value."""
    try:
        result, numbers = read(completion)
    except ValueError:
        return Correctness.WRONG
    right = result == problem.data["target"] and sorted(numbers) == problem.data["leaves"]
    return Correctness.CORRECT if right else Correctness.WRONG


def worked(problem: Problem) -> str:
    """One operation a line, then all in one."""
    return "\n".join([*steps(problem.data["tree"]), problem.answer])


def _widths(difficulty: int) -> dict[str, int]:
    count, digits = (difficulty + 3) // 2, 2 - difficulty % 2
    text = count * (digits + 1) - 1
    return {"numbers": text, "target": 3, "answer": text + 2 * max(0, count - 2)}


TASKS = Family(
    "countdown",
    draw,
    symbolic="{numbers} -> {target}:",
    worded=(
        "Make {target} from {numbers}, each used once.",
        "Reach {target} with {numbers} by + - * ( ).",
        "Join {numbers} into a sum that gives {target}.",
    ),
    widths=_widths,
    difficulty_meaning="two more with each further number, from two; odd: one digit each, even: up to two",
    answer_format=r"[-+*()0-9]+",
    verify=verify,
    worked=worked,
).tasks
