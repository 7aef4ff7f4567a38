"""What a straight program of one to twelve lines on three registers of one digit prints.

`trace_digit` adds a digit to a register or takes it away, `trace_register` another register, `trace` does both: RL may
reward one operation and evaluate the other. `trace_check`, `trace_fault` and `trace_comment` ask other questions about
the same programs, and share their splits.
"""

from collections.abc import Sequence
from functools import partial
from itertools import permutations

from envs.base import Problem, Task, unscorable
from envs.code.straight import ASSERTION_WORDS
from envs.contexts import Content, Family
from envs.draw import Rng, integer, pick

REGISTERS = "abc"
KINDS = ("digit", "register")
LONGEST_LINE = len("a=b+c")
PRINT = "print(a)"
State = dict[str, int]
Values = list[tuple[str, int]]


def _with_digit(rng: Rng, state: State) -> tuple[str, int]:
    """A sum or difference of a register and a digit above 0, and its value: any digit but the register's."""
    left = pick(rng, list(state))
    value = (state[left] + integer(rng, 1, 10)) % 10
    operator = "+" if value > state[left] else "-"
    return f"{left}{operator}{abs(value - state[left])}", value


def _with_register(rng: Rng, state: State) -> tuple[str, int]:
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


def _statement(rng: Rng, state: State, kinds: Sequence[str]) -> tuple[str, str, int]:
    """(register, expression, value): a register's first line gives it a digit, a later one the result of an
    operation. The value is drawn before the operands, so that no digit is much commoner than another."""
    register = pick(rng, REGISTERS)
    if register not in state:
        value = integer(rng, 0, 10)
        return register, str(value), value
    return register, *OPERATIONS[pick(rng, kinds)](rng, state)


def program(rng: Rng, length: int, kinds: Sequence[str] = KINDS) -> tuple[list[str], Values]:
    """So many lines, and the register that each assigns, with its value."""
    state: State = {}
    lines, values = [], []
    for _ in range(length):
        register, expression, value = _statement(rng, state, kinds)
        state[register] = value
        lines.append(f"{register}={expression}")
        values.append((register, value))
    return lines, values


def printed(rng: Rng, values: Values) -> tuple[str, int]:
    """A register of the program to print, and its last value."""
    return pick(rng, list(dict(values).items()))


def content_key(lines: Sequence[str]) -> str:
    """Names the program, whatever is asked about it: it is in the same split everywhere."""
    return "trace:" + ";".join(lines)


def draw(kinds: Sequence[str], rng: Rng, difficulty: int) -> Content:
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


TRACE = (
    *_tasks("trace", KINDS, 0.11, "a sum or difference with a digit or a register"),
    *_tasks("trace_digit", KINDS[:1], 0.11, "a sum or difference with a digit"),
    *_tasks("trace_register", KINDS[1:], 0.13, "a sum or difference of two registers, where there are two that fit"),
)


def draw_check(rng: Rng, difficulty: int) -> Content:
    lines, values = program(rng, difficulty)
    register, value = printed(rng, values)
    answer = pick(rng, ("yes", "no"))
    claimed = value if answer == "yes" else (value + integer(rng, 1, 10)) % 10
    text = "\n".join([*lines, f"assert {register}=={claimed}"])
    return Content(content_key(lines), answer, {"text": text, "values": values})


TRACE_CHECK = Family(
    "trace_check",
    draw_check,
    symbolic="{text}\npasses?",
    worded=ASSERTION_WORDS,
    widths=lambda d: {"text": longest(d) + len("assert a==0"), "answer": 3},
    difficulty_meaning="lines before the assertion",
    answer_format=r"yes|no",
    guess_rate=0.515,
    worked=worked,
    difficulties=range(1, 13),
).tasks


def draw_fault(rng: Rng, difficulty: int) -> Content:
    lines, values = program(rng, difficulty)
    fault = integer(rng, 0, difficulty)
    claimed = [value for _, value in values]
    claimed[fault] = (claimed[fault] + integer(rng, 1, 10)) % 10
    text = "\n".join(f"{line}#{value}" for line, value in zip(lines, claimed))
    return Content(content_key(lines), str(fault + 1), {"text": text, "values": values})


TRACE_FAULT = Family(
    "trace_fault",
    draw_fault,
    symbolic="{text}\nfault:",
    worded=(
        "Which line has a wrong comment?\n{text}",
        "{text}\nOne comment is false. In which line?",
    ),
    widths=lambda d: {"text": longest(d) + d * len("#0") - 1, "answer": 1},
    difficulty_meaning="lines of the program",
    answer_format=r"[1-9]",
    guess_rate=0.23,
    worked=worked,
    difficulties=range(2, 10),
).tasks


def draw_comment(rng: Rng, difficulty: int) -> Content:
    lines, values = program(rng, difficulty)
    register, value = printed(rng, values)
    text = "\n".join([*lines, f"print({register})"])
    answer = "".join(f"{name} is {now}. " for name, now in values) + f"prints {value}."
    return Content(content_key(lines), answer, {"text": text, "events": values, "printed": value})


TRACE_COMMENT = Family(
    "trace_comment",
    draw_comment,
    symbolic="{text}\ncomment:",
    worded=("Say what each line does:\n{text}", "{text}\nComment this program."),
    widths=lambda d: {"text": longest(d) + len(PRINT), "answer": d * len("a is 5. ") + len("prints 5.")},
    difficulty_meaning="lines before the last",
    answer_format=r"[ -~\n]+",
    verify=unscorable,
    difficulties=range(1, 13),
).tasks
