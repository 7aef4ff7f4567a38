"""Every step of an explained addition is checked.

A step is a true equation of sums: a column of the written method, or a sum of the operands, their place values (40 of
47) and results of earlier steps. The last statement must be the sum. There must be a step for each digit.
"""

import re

from envs.base import Problem
from envs.graders.statements import score, statements

_EQUATION = re.compile(r"([0-9]{1,12}(?:\+[0-9]{1,12}){1,3})=([0-9]{1,13})")
Step = tuple[tuple[int, ...], int]
"""The numbers above 0 that are added, ascending, and their sum."""


def grade_explanation(problem: Problem, completion: str) -> float:
    """Share of sound steps, times the share of digits that have one; 0 if the sum does not end the explanation."""
    a, b, digits = (problem.data[name] for name in ("a", "b", "digits"))
    stated = [part.replace(" ", "") for part in statements(completion, r"[,.;\n]")]
    if not stated or stated[-1].rpartition("=")[2] != str(a + b):
        return 0.0
    concluded = int(stated[-1].isdigit())
    columns, known, sound = _columns(a, b, digits), {a, b} | _places(a) | _places(b), 0
    used: set[Step] = {_sum(a, b)} if digits > 1 else set()  # the task itself is no step of it
    for text in stated[: len(stated) - concluded]:
        step = _step(text)
        if step in columns:
            columns.remove(step)
        elif not step or step in used or len(step[0]) < 2 or not known.issuperset(step[0]):
            continue
        used.add(step)
        known.add(step[1])
        sound += 1
    # Twice as many steps as digits can serve: one for each place, and one to put it to the others.
    return score(min(sound, 2 * digits) + concluded, len(stated), min(1.0, sound / digits))


def _sum(*numbers: int) -> Step:
    return tuple(sorted(filter(None, numbers))), sum(numbers)


def _step(text: str) -> Step | None:
    """The step that a true equation makes."""
    match = _EQUATION.fullmatch(text)
    step = _sum(*map(int, match[1].split("+"))) if match else None
    return step if match and step and step[1] == int(match[2]) else None


def _columns(a: int, b: int, digits: int) -> list[Step]:
    """The columns of the written method from the right, the last carry included."""
    steps, carry = [], 0
    for place in range(digits + 1):
        column = _sum(a // 10**place % 10, b // 10**place % 10, carry)
        if place < digits or carry:
            steps.append(column)
        carry = column[1] // 10
    return steps


def _places(n: int) -> set[int]:
    """The place values: 300, 40 and 7 of 347."""
    text = str(n)
    return {int(digit) * 10 ** (len(text) - 1 - i) for i, digit in enumerate(text)}
