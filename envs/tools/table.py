"""A table that only the tool has, read key by key: a store, a spreadsheet, a code, a word. `Problem.data` holds the
`table`, and in `calls` the keys to look up, in order."""

import itertools
from functools import partial
from string import ascii_lowercase

from envs.arithmetic.expression import apply
from envs.base import Problem
from envs.contexts import Content, Family
from envs.draw import Rng, integer, letters, pick, shuffled
from envs.tools import CALL, answer_or_call

CELLS = tuple(f"{column}{row}" for column in "ABCDE" for row in range(1, 6))
LARGEST = 999
LETTERS = "abcdefghij"


def look_up(missing: str, problem: Problem, call: str) -> str:
    """The call's entry; what the table lacks is `missing`."""
    return problem.data["table"].get(call, missing)


def worked(problem: Problem) -> str:
    """The calls, then the answer."""
    return "\n".join([*(CALL + key for key in problem.data["calls"]), problem.answer])


_family = partial(Family, worked=worked, respond=answer_or_call(partial(look_up, "none")), max_turns=12, max_reply=4)


def draw_store(rng: Rng, difficulty: int) -> Content:
    ring = "".join(shuffled(rng, ascii_lowercase))
    path, table = ring[: difficulty + 1], dict(zip(ring, ring[1:] + ring[0]))
    slots = {"start": path[0], "hops": difficulty, "calls": path[:-1], "table": table}
    return Content(f"store:{path}", path[-1], slots)


STORE = _family(
    "store",
    draw_store,
    symbolic="hop {hops} from {start}:",
    worded=(
        "Start at {start}, look up {hops} times. Where are you?",
        "Follow the store {hops} times from key {start}.",
        "Which key is {hops} steps after {start}?",
    ),
    widths=lambda d: {"hops": len(str(d)), "start": 1, "answer": 2},
    difficulty_meaning="look-ups needed",
    answer_format=r"[a-z]",
    guess_rate=0.04,
).tasks


def draw_spreadsheet(rng: Rng, difficulty: int) -> Content:
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
    slots = {"cell": path[-1], "calls": path[::-1], "table": sheet}  # back from the cell that is asked for
    return Content(f"spreadsheet:{key}", str(result), slots)


SPREADSHEET = _family(
    "spreadsheet",
    draw_spreadsheet,
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
    respond=answer_or_call(partial(look_up, "empty")),
    max_reply=5,
).tasks


def draw_translate(rng: Rng, difficulty: int) -> Content:
    code = dict(zip(LETTERS, shuffled(rng, LETTERS)))
    word = letters(rng, difficulty, LETTERS)
    secret = "".join(code[letter] for letter in word)
    return Content(f"translate:{word}>{secret}", secret, {"word": word, "calls": word, "table": code})


TRANSLATE = _family(
    "translate",
    draw_translate,
    symbolic="code {word}:",
    worded=(
        "Write {word} in the tool's code.",
        "Letter by letter, encode {word}.",
        "What is {word} in code?",
    ),
    widths=lambda d: {"word": d, "answer": max(d, 2)},
    difficulty_meaning="letters of the word",
    answer_format=r"[a-j]+",
    guess_rate=0.01,
).tasks


def draw_spell(rng: Rng, difficulty: int) -> Content:
    word = letters(rng, difficulty, LETTERS)
    places = {str(place): letter for place, letter in enumerate(word, start=1)}
    return Content(f"spell:{word}", word, {"length": difficulty, "calls": list(places), "table": places})


SPELL = _family(
    "spell",
    draw_spell,
    symbolic="read {length}:",
    worded=(
        "The hidden word has {length} letters. Which is it?",
        "Spell the word of length {length}.",
        "Read all {length} letters and say the word.",
    ),
    widths=lambda d: {"length": len(str(d)), "answer": max(d, 1 + len(str(d)))},
    difficulty_meaning="letters of the word",
    answer_format=r"[a-j]+",
    guess_rate=0.01,
).tasks
