"""What a straight program of one to twelve lines on three registers of one digit prints.

`trace_digit` adds a digit to a register or takes it away, `trace_register` another register, `trace` does both: RL may
reward one operation and evaluate the other. `trace_check`, `trace_fault` and `trace_comment` ask other questions about
the same programs, and share their splits.
"""

from collections.abc import Sequence
from functools import partial
from itertools import permutations

import numpy as np

from envs.base import Problem, Task
from envs.contexts import Content, Family
from envs.draw import integer, pick

REGISTERS = "abc"
KINDS = ("digit", "register")
LONGEST_LINE = len("a=b+c")
PRINT = "print(a)"
State = dict[str, int]
Values = list[tuple[str, int]]


def _with_digit(rng: np.random.Generator, state: State) -> tuple[str, int]:
    """A sum or difference of a register and a digit above 0, and its value: any digit but the register's."""
    left = pick(rng, list(state))
    value = (state[left] + integer(rng, 1, 10)) % 10
    operator = "+" if value > state[left] else "-"
    return f"{left}{operator}{abs(value - state[left])}", value


def _with_register(rng: np.random.Generator, state: State) -> tuple[str, int]:
    """A sum or difference of two registers, and its value; where none gives a digit, of a register and a digit."""
    found: dict[int, list[str]] = {}
    for left, right in permutations(state, 2):
        for operator, value in ("+", state[left] + state[right]), ("-", state[left] - state[right]):
            if 0 <= value <= 9:
                found.setdefault(value, []).append(f"{left}{operator}{right}")
    if not found:
        return _with_digit(rng, state)
    value = pick(rng, list(found))
    return pick(rng, found[value]), value


OPERATIONS = {"digit": _with_digit, "register": _with_register}


def _statement(rng: np.random.Generator, state: State, kinds: Sequence[str]) -> tuple[str, str, int]:
    """(register, expression, value): a register's first line gives it a digit, a later one the result of an
    operation. The value is drawn before the operands, so that no digit is much commoner than another."""
    register = pick(rng, REGISTERS)
    if register not in state:
        value = integer(rng, 0, 10)
        return register, str(value), value
    return register, *OPERATIONS[pick(rng, kinds)](rng, state)


def program(rng: np.random.Generator, length: int, kinds: Sequence[str] = KINDS) -> tuple[list[str], Values]:
    """So many lines, and the register that each assigns, with its value."""
    state: State = {}
    lines, values = [], []
    for _ in range(length):
        register, expression, value = _statement(rng, state, kinds)
        state[register] = value
        lines.append(f"{register}={expression}")
        values.append((register, value))
    return lines, values


def printed(rng: np.random.Generator, values: Values) -> tuple[str, int]:
    """A register of the program to print, and its last value."""
    return pick(rng, list(dict(values).items()))


def content_key(lines: Sequence[str]) -> str:
    """Names the program, whatever is asked about it: it is in the same split everywhere."""
    return "trace:" + ";".join(lines)


def draw(kinds: Sequence[str], rng: np.random.Generator, difficulty: int) -> Content:
    lines, values = program(rng, difficulty, kinds)
    register, value = printed(rng, values)
    text = "\n".join([*lines, f"print({register})"])
    return Content(content_key(lines), str(value), {"text": text, "values": values})


def worked(problem: Problem) -> str:
    """a5 b3 a8: the register after each line."""
    steps = " ".join(f"{register}{value}" for register, value in problem.data["values"])
    return f"{steps}\n{problem.answer}"


def longest(length: int) -> int:
    """Characters of the longest program of so many lines, with a line break after each."""
    return length * (LONGEST_LINE + 1)


def _tasks(name: str, kinds: Sequence[str], guess_rate: float, meaning: str) -> tuple[Task, ...]:
    return Family(
        name,
        partial(draw, kinds),
        symbolic="{text}\n",
        worded=(
            "What does this print?\n{text}",
            "{text}\nWhich digit appears?",
            "Run this:\n{text}",
        ),
        widths=lambda d: {"text": longest(d) + len(PRINT), "answer": 1},
        difficulty_meaning=f"lines before the last; {meaning}",
        answer_format=r"[0-9]",
        guess_rate=guess_rate,
        worked=worked,
        difficulties=range(1, 13),
    ).tasks


TASKS = (
    *_tasks("trace", KINDS, 0.11, "a sum or difference with a digit or a register"),
    *_tasks("trace_digit", KINDS[:1], 0.11, "a sum or difference with a digit"),
    *_tasks("trace_register", KINDS[1:], 0.13, "a sum or difference of two registers, where there are two that fit"),
)
