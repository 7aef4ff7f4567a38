"""Expressions over +, - and *: drawn as trees, written without needless parentheses, worked step by step, read back."""

import ast
import re
from collections.abc import Mapping, Sequence

from envs.base import Correctness, Problem
from envs.contexts import Content, Family
from envs.draw import Rng, integer, pick, shuffled

Tree = int | str | tuple[str, "Tree", "Tree"]
"""A number, a variable, or (operator, left, right)."""

_EXPRESSION = re.compile(r"(?:(?:0|[1-9][0-9]{0,3})(?![0-9])|[-+*()])*")
_OPERATORS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}
_PRECEDENCE = {"+": 1, "-": 1, "*": 2}


def random_tree(rng: Rng, leaves: Sequence[int | str]) -> Tree:
    """A random binary tree with these leaves in this order."""
    if len(leaves) == 1:
        return leaves[0]
    cut = integer(rng, 1, len(leaves))
    operator = pick(rng, "+-*")
    return operator, random_tree(rng, leaves[:cut]), random_tree(rng, leaves[cut:])


def apply(operator: str, left: int, right: int) -> int:
    """left operator right."""
    return {"+": left + right, "-": left - right, "*": left * right}[operator]


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
    first, second = render(left), render(right)
    if _rank(left) < rank:
        first = f"({first})"
    if _rank(right) < rank or (operator == "-" and _rank(right) == rank):
        second = f"({second})"
    return first + operator + second


def steps(tree: Tree) -> list[str]:
    """One line for each operation, innermost first: 3*4=12."""
    if not isinstance(tree, tuple):
        return []
    operator, left, right = tree
    return [*steps(left), *steps(right), f"{value(left)}{operator}{value(right)}={value(tree)}"]


def read(text: str) -> tuple[int, list[int]]:
    """The value of an expression and the numbers in it, left to right.

    Takes digits without leading zeros, + - * and parentheses, nothing else. Raises ValueError for any other text,
    for text of over 100 characters and for numbers over four digits, so that no answer can cost time.
    """
    if len(text) > 100:
        raise ValueError("too long")
    if not _EXPRESSION.fullmatch(text):
        raise ValueError("not an expression")
    try:
        tree = _tree(ast.parse(text, mode="eval").body)
    except SyntaxError:
        raise ValueError("not an expression") from None
    return value(tree), [int(number) for number in re.findall("[0-9]+", text)]


def _rank(tree: Tree) -> int:
    return _PRECEDENCE[tree[0]] if isinstance(tree, tuple) else 3


def _tree(node: ast.expr) -> Tree:
    """The tree of a parsed expression. Raises ValueError for whatever else Python calls an expression."""
    match node:
        case ast.BinOp(left, operator, right) if type(operator) in _OPERATORS:
            return _OPERATORS[type(operator)], _tree(left), _tree(right)
        case ast.Constant(int(number)):
            return number
    raise ValueError("not an expression")


LARGEST = 999


def draw_chains(rng: Rng, difficulty: int) -> Content:
    while True:
        # No zeros: products with them would make 0 the answer to guess.
        tree = random_tree(rng, [integer(rng, 1, 10) for _ in range(difficulty + 1)])
        if abs(value(tree)) <= LARGEST:
            text = render(tree)
            return Content(f"chains:{text}", str(value(tree)), {"text": text, "tree": tree})


def worked_chains(problem: Problem) -> str:
    """One operation a line, innermost first."""
    return "\n".join([*steps(problem.data["tree"]), problem.answer])


CHAINS = Family(
    "chains",
    draw_chains,
    symbolic="{text}=",
    worded=(
        "What is {text}?",
        "Work out {text}.",
        "Find the value of {text}.",
        "The bill says {text}. What is the total?",
    ),
    widths=lambda d: {"text": 4 * d - 1, "answer": 4},
    difficulty_meaning="operations on one-digit numbers; the value stays within 999",
    answer_format=r"0|-?[1-9][0-9]*",
    guess_rate=0.03,
    worked=worked_chains,
).tasks


def draw_countdown(rng: Rng, difficulty: int) -> Content:
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


def verify_countdown(problem: Problem, completion: str) -> Correctness:
    """CORRECT if the expression uses each number once and has the target's value."""
    try:
        result, numbers = read(completion)
    except ValueError:
        return Correctness.WRONG
    right = result == problem.data["target"] and sorted(numbers) == problem.data["leaves"]
    return Correctness.CORRECT if right else Correctness.WRONG


def worked_countdown(problem: Problem) -> str:
    """One operation a line, then all in one."""
    return "\n".join([*steps(problem.data["tree"]), problem.answer])


def _countdown_widths(difficulty: int) -> dict[str, int]:
    count, digits = (difficulty + 3) // 2, 2 - difficulty % 2
    text = count * (digits + 1) - 1
    return {"numbers": text, "target": 3, "answer": text + 2 * max(0, count - 2)}


COUNTDOWN = Family(
    "countdown",
    draw_countdown,
    symbolic="{numbers} -> {target}:",
    worded=(
        "Make {target} from {numbers}, each used once.",
        "Reach {target} with {numbers} by + - * ( ).",
        "Join {numbers} into a sum that gives {target}.",
    ),
    widths=_countdown_widths,
    difficulty_meaning="two more with each further number, from two; odd: one digit each, even: up to two",
    answer_format=r"[-+*()0-9]+",
    verify=verify_countdown,
    worked=worked_countdown,
).tasks
