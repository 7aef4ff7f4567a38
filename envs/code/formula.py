"""Formulas in x that are asked for by their values, and the check of what a policy writes, by running it."""

import itertools
import re
from collections.abc import Mapping
from typing import Any

from envs.arithmetic.expression import Tree, random_tree, render, value
from envs.base import Correctness, Problem
from envs.code.sandbox import Ending, same, shared
from envs.contexts import Content, Family
from envs.draw import Rng, integer, pick, shuffled

SHOWN = (1, 2, 3, 6)
HIDDEN = (0, 4, 5, 7, 8, 9, 10, 13)
LARGEST = 9999
LONGEST = 60
EXAMPLES_WIDTH = len(SHOWN) * len(f"f(1)={-LARGEST} ") - 1


def draw_formula(rng: Rng, operations: int) -> Tree:
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


def draw_expression(rng: Rng, difficulty: int) -> Content:
    tree = draw_formula(rng, difficulty)
    text = render(tree)
    return Content(f"expression:{text}", text, {"examples": examples(tree), "tests": tests(tree)})


def worked_expression(problem: Problem) -> str:
    """How fast the shown values grow, then the formula."""
    values = problem.data["tests"]
    pairs = itertools.pairwise(SHOWN)
    return "\n".join([*(f"{x}>{y}: {values[y] - values[x]}" for x, y in pairs), problem.answer])


EXPRESSION = Family(
    "expression",
    draw_expression,
    symbolic="{examples} f(x)=",
    worded=(
        "Given {examples}, write f(x) in Python.",
        "Which expression has {examples}?",
        "Find f such that {examples}.",
    ),
    widths=lambda d: {"examples": EXAMPLES_WIDTH, "answer": 4 * d - 1},
    difficulty_meaning="operations in the formula that was meant",
    answer_format=r"[-+*/%()0-9x ]+",
    guess_rate=0.01,
    verify=verify,
    worked=worked_expression,
).tasks


def _size(tree: Tree) -> int:
    return 1 + _size(tree[1]) + _size(tree[2]) if isinstance(tree, tuple) else 1


def _spoil(rng: Rng, tree: Tree, place: int) -> Tree:
    """The tree with another operator or leaf at this place, counted in prefix order."""
    if not isinstance(tree, tuple):
        return pick(rng, [leaf for leaf in ("x", *range(1, 10)) if leaf != tree])
    operator, left, right = tree
    if place == 0:
        return pick(rng, "+-*".replace(operator, "")), left, right
    if place <= _size(left):
        return operator, _spoil(rng, left, place - 1), right
    return operator, left, _spoil(rng, right, place - 1 - _size(left))


def draw_repair(rng: Rng, difficulty: int) -> Content:
    tree = draw_formula(rng, difficulty)
    while True:
        spoilt = _spoil(rng, tree, integer(rng, 0, _size(tree)))
        if examples(spoilt) != examples(tree):
            break
    text, wrong = render(tree), render(spoilt)
    slots = {"wrong": wrong, "values": examples(spoilt), "examples": examples(tree), "tests": tests(tree)}
    return Content(f"repair:{wrong}:{text}", text, slots)


def worked_repair(problem: Problem) -> str:
    """What the formula gives and what it should, point by point, then the right one."""
    pairs = zip(problem.data["values"].split(), problem.data["examples"].split())
    return "\n".join([*(f"{got} not {want.split('=')[1]}" for got, want in pairs if got != want), problem.answer])


REPAIR = Family(
    "repair",
    draw_repair,
    symbolic="{wrong} but {examples} f(x)=",
    worded=(
        "f(x)={wrong} has one error. Want {examples}. Fix it:",
        "Mend {wrong} so that {examples}.",
        "{wrong} is wrong, as {examples}. What is right?",
    ),
    widths=lambda d: {"wrong": 4 * d - 1, "examples": EXAMPLES_WIDTH, "answer": 4 * d - 1},
    difficulty_meaning="operations in the formula",
    answer_format=r"[-+*/%()0-9x ]+",
    guess_rate=0.01,
    verify=verify,
    worked=worked_repair,
).tasks
