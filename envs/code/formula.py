"""Formulas in x that are asked for by their values, and the check of what a policy writes, by running it."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from envs.arithmetic.expression import Tree, random_tree, value
from envs.base import Correctness, Problem
from envs.code.sandbox import Ending, same, shared
from envs.draw import integer, shuffled

SHOWN = (1, 2, 3, 6)
HIDDEN = (0, 4, 5, 7, 8, 9, 10, 13)
LARGEST = 9999
LONGEST = 60


def draw_formula(rng: np.random.Generator, operations: int) -> Tree:
    """A formula with x in it, whose values are within 9999 and not all the same where shown."""
    while True:
        variables = 1 + integer(rng, 0, (operations + 1) // 2)
        numbers = [integer(rng, 1, 10) for _ in range(operations + 1 - variables)]
        tree = random_tree(rng, shuffled(rng, [*["x"] * variables, *numbers]))
        # From the largest x down: most formulas that grow too large are known by it.
        small = all(abs(value(tree, {"x": x})) <= LARGEST for x in sorted((*SHOWN, *HIDDEN), reverse=True))
        if small and len({value(tree, {"x": x}) for x in SHOWN}) > 1:
            return tree


def examples(tree: Tree) -> str:
    """The formula's values at the shown points."""
    return " ".join(f"f({x})={value(tree, {'x': x})}" for x in SHOWN)


def examples_width() -> int:
    """Characters of the longest examples."""
    return len(SHOWN) * len(f"f(1)={-LARGEST} ") - 1


def tests(tree: Tree) -> dict[int, int]:
    """The values by which an answer is judged: those shown, and as many more."""
    return {x: value(tree, {"x": x}) for x in (*SHOWN, *HIDDEN)}


def verify(problem: Problem, completion: str) -> Correctness:
    """CORRECT if the expression gives every value of `problem.data["tests"]`; UNSCORABLE if its worker was lost.

    Any one-line Python expression in x of up to 60 ASCII characters counts, without space around it.
    """
    if len(completion) > LONGEST or not re.fullmatch(r"[!-~]|[!-~][ -~]*[!-~]", completion):
        return Correctness.WRONG
    return judge(f"def f(x):\n return ({completion}\n)", problem.data["tests"])


def judge(definition: str, tests: Mapping[Any, Any]) -> Correctness:
    """Runs the definition of f in the sandbox on the keys of `tests`, and compares with their values.

    The values stay outside the sandbox, so that no program can read what it should compute.
    """
    outcome = shared().run(f"{definition}\n[f(x) for x in {tuple(tests)}]")
    if outcome.ending is Ending.LOST:
        return Correctness.UNSCORABLE
    right = outcome.ending is Ending.VALUE and same(outcome.value, list(tests.values()))
    return Correctness.CORRECT if right else Correctness.WRONG
