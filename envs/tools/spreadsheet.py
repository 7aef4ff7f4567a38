"""A small spreadsheet, read cell by cell: each formula refers to one other cell, the last to none."""

import itertools

import numpy as np

from envs.arithmetic.expression import apply
from envs.base import Problem
from envs.contexts import Content, Family
from envs.draw import integer, pick, shuffled
from envs.tools import CALL, answer_or_call, table

CELLS = tuple(f"{column}{row}" for column in "ABCDE" for row in range(1, 6))
LARGEST = 999


def draw(rng: np.random.Generator, difficulty: int) -> Content:
    path = shuffled(rng, CELLS)[: difficulty + 1]
    result = integer(rng, 1, 100)
    sheet = {path[0]: str(result)}
    for referred, cell in itertools.pairwise(path):
        while True:
            operator, operand = pick(rng, "+-*"), integer(rng, 2, 10)
            if 0 <= apply(operator, result, operand) <= LARGEST:
                break
        result = apply(operator, result, operand)
        sheet[cell] = f"{referred}{operator}{operand}"
    key = ";".join(f"{cell}={formula}" for cell, formula in sheet.items())
    return Content(f"spreadsheet:{key}", str(result), {"cell": path[-1], "sheet": sheet})


def worked(problem: Problem) -> str:
    """A call for each cell, back from the one that is asked for, then the answer."""
    return "\n".join([*(CALL + cell for cell in reversed(problem.data["sheet"])), problem.answer])


TASKS = Family(
    "spreadsheet",
    draw,
    symbolic="cell {cell}=",
    worded=(
        "What is the value of cell {cell}?",
        "Read the sheet and evaluate {cell}.",
        "Which number does {cell} show?",
    ),
    widths=lambda d: {"cell": 2, "answer": 3},
    difficulty_meaning="formulas to evaluate",
    answer_format=r"0|[1-9][0-9]*",
    guess_rate=0.015,
    worked=worked,
    respond=answer_or_call(table("sheet", "empty")),
    max_turns=12,
    max_reply=5,
).tasks
