"""Mend a formula in which one number, variable or operator is wrong, so that its tests pass."""

import numpy as np

from envs.arithmetic.expression import Tree, render
from envs.base import Problem
from envs.code.formula import draw_formula, examples, examples_width, tests, verify
from envs.contexts import Content, Family
from envs.draw import integer, pick


def _size(tree: Tree) -> int:
    return 1 + _size(tree[1]) + _size(tree[2]) if isinstance(tree, tuple) else 1


def _spoil(rng: np.random.Generator, tree: Tree, place: int) -> Tree:
    """The tree with another operator or leaf at this place, counted in prefix order."""
    if not isinstance(tree, tuple):
        return pick(rng, [leaf for leaf in ("x", *range(1, 10)) if leaf != tree])
    operator, left, right = tree
    if place == 0:
        return pick(rng, "+-*".replace(operator, "")), left, right
    if place <= _size(left):
        return operator, _spoil(rng, left, place - 1), right
    return operator, left, _spoil(rng, right, place - 1 - _size(left))


def draw(rng: np.random.Generator, difficulty: int) -> Content:
    tree = draw_formula(rng, difficulty)
    while True:
        spoilt = _spoil(rng, tree, integer(rng, 0, _size(tree)))
        if examples(spoilt) != examples(tree):
            break
    text, wrong = render(tree), render(spoilt)
    slots = {"wrong": wrong, "values": examples(spoilt), "examples": examples(tree), "tests": tests(tree)}
    return Content(f"repair:{wrong}:{text}", text, slots)


def worked(problem: Problem) -> str:
    """What the formula gives and what it should, point by point, then the right one."""
    pairs = zip(problem.data["values"].split(), problem.data["examples"].split())
    return "\n".join([*(f"{got} not {want.split('=')[1]}" for got, want in pairs if got != want), problem.answer])


TASKS = Family(
    "repair",
    draw,
    symbolic="{wrong} but {examples} f(x)=",
    worded=(
        "f(x)={wrong} has one error. Want {examples}. Fix it:",
        "Mend {wrong} so that {examples}.",
        "{wrong} is wrong, as {examples}. What is right?",
    ),
    widths=lambda d: {"wrong": 4 * d - 1, "examples": examples_width(), "answer": 4 * d - 1},
    difficulty_meaning="operations in the formula",
    answer_format=r"[-+*/%()0-9x ]+",
    guess_rate=0.01,
    verify=verify,
    worked=worked,
).tasks
