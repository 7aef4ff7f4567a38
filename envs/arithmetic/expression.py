"""Expressions over +, - and *: drawn as trees, written without needless parentheses, worked step by step, read back."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from envs.draw import integer, pick

Tree = int | str | tuple[str, "Tree", "Tree"]
"""A number, a variable, or (operator, left, right)."""

_TOKEN = re.compile(r"[0-9]+|[-+*()]")
_EXPRESSION = re.compile(r"(?:(?:0|[1-9][0-9]{0,3})(?![0-9])|[-+*()])*")
_PRECEDENCE = {"+": 1, "-": 1, "*": 2}


def random_tree(rng: np.random.Generator, leaves: Sequence[int | str], operators: str = "+-*") -> Tree:
    """A random binary tree with these leaves in this order."""
    if len(leaves) == 1:
        return leaves[0]
    cut = integer(rng, 1, len(leaves))
    operator = pick(rng, operators)
    return operator, random_tree(rng, leaves[:cut], operators), random_tree(rng, leaves[cut:], operators)


def apply(operator: str, left: int, right: int) -> int:
    """left operator right."""
    if operator == "*":
        return left * right
    return left + right if operator == "+" else left - right


def value(tree: Tree, variables: Mapping[str, int] | None = None) -> int:
    """The value of the tree. Raises KeyError for a variable without value."""
    if isinstance(tree, tuple):
        return apply(tree[0], value(tree[1], variables), value(tree[2], variables))
    return tree if isinstance(tree, int) else (variables or {})[tree]


def largest(tree: Tree) -> int:
    """The greatest absolute value of any operation in a tree without variables."""
    return max(largest(tree[1]), largest(tree[2]), abs(value(tree))) if isinstance(tree, tuple) else 0


def render(tree: Tree) -> str:
    """Infix text that reads back as the same value, without needless parentheses."""
    if not isinstance(tree, tuple):
        return str(tree)
    operator, left, right = tree
    rank = _PRECEDENCE[operator]
    loose_left = _rank(left) < rank
    loose_right = _rank(right) < rank or (operator == "-" and _rank(right) == rank)
    return _wrap(render(left), loose_left) + operator + _wrap(render(right), loose_right)


def steps(tree: Tree) -> list[str]:
    """One line for each operation, innermost first: 3*4=12."""
    if not isinstance(tree, tuple):
        return []
    operator, left, right = tree
    return [*steps(left), *steps(right), f"{value(left)}{operator}{value(right)}={value(tree)}"]


def read(text: str, longest: int = 100) -> tuple[int, list[int]]:
    """The value of an expression and the numbers in it, left to right.

    Takes digits without leading zeros, + - * and parentheses, nothing else. Raises ValueError for any other text,
    for text longer than `longest` and for numbers over four digits, so that no answer can cost time.
    """
    if len(text) > longest:
        raise ValueError("too long")
    if not _EXPRESSION.fullmatch(text):
        raise ValueError("not an expression")
    tokens = _TOKEN.findall(text)
    numbers = [int(token) for token in tokens if token.isdigit()]
    result, end = _sum(tokens, 0)
    if end != len(tokens):
        raise ValueError("not an expression")
    return result, numbers


def _rank(tree: Tree) -> int:
    return _PRECEDENCE[tree[0]] if isinstance(tree, tuple) else 3


def _wrap(text: str, parentheses: bool) -> str:
    return f"({text})" if parentheses else text


def _sum(tokens: list[str], i: int) -> tuple[int, int]:
    total, i = _product(tokens, i)
    while i < len(tokens) and tokens[i] in "+-":
        operator = tokens[i]
        term, i = _product(tokens, i + 1)
        total = apply(operator, total, term)
    return total, i


def _product(tokens: list[str], i: int) -> tuple[int, int]:
    total, i = _atom(tokens, i)
    while i < len(tokens) and tokens[i] == "*":
        factor, i = _atom(tokens, i + 1)
        total *= factor
    return total, i


def _atom(tokens: list[str], i: int) -> tuple[int, int]:
    if i < len(tokens) and tokens[i].isdigit():
        return int(tokens[i]), i + 1
    if i < len(tokens) and tokens[i] == "(":
        inner, i = _sum(tokens, i + 1)
        if i < len(tokens) and tokens[i] == ")":
            return inner, i + 1
    raise ValueError("not an expression")
