"""Sums, differences, products, quotients and remainders, worked by the written methods."""

from collections.abc import Iterator

from envs.base import Problem, unscorable
from envs.contexts import Content, Family
from envs.draw import Rng, integer, number, pick


def draw_addition(rng: Rng, difficulty: int) -> Content:
    a, b = number(rng, difficulty), number(rng, difficulty)
    # 3+5 and 5+3 are one content: else memory of the one would pass for skill at the other.
    return Content(f"addition:{min(a, b)},{max(a, b)}", str(a + b), {"a": a, "b": b})


def worked_addition(problem: Problem) -> str:
    """Column by column from the right: digit+digit+carry=sum."""
    a, b, carry, lines = problem.data["a"], problem.data["b"], 0, []
    while not lines or a or b or carry:
        column = a % 10 + b % 10 + carry
        lines.append(f"{a % 10}+{b % 10}+{carry}={column}")
        a, b, carry = a // 10, b // 10, column // 10
    return "\n".join([*lines, problem.answer])


ADDITION = Family(
    "addition",
    draw_addition,
    symbolic="{a}+{b}=",
    worded=(
        "What is {a} plus {b}?",
        "Add {a} and {b}.",
        "Find the sum of {a} and {b}.",
        "Ann has {a} pens and gets {b} more. How many now?",
        "If you count {b} up from {a}, where do you end?",
    ),
    widths=lambda d: {"a": d, "b": d, "answer": d + 1},
    difficulty_meaning="digits of each operand",
    answer_format=r"0|[1-9][0-9]*",
    guess_rate=0.01,
    worked=worked_addition,
).tasks


def draw_subtraction(rng: Rng, difficulty: int) -> Content:
    b, a = sorted((number(rng, difficulty), number(rng, difficulty)))
    return Content(f"subtraction:{a},{b}", str(a - b), {"a": a, "b": b})


def worked_subtraction(problem: Problem) -> str:
    """Column by column from the right: digit-digit-borrow, with 10 added where that is below zero."""
    a, b, borrow, lines = problem.data["a"], problem.data["b"], 0, []
    while not lines or a or b:
        column = a % 10 - b % 10 - borrow
        lines.append(f"{a % 10}-{b % 10}-{borrow}={column % 10}")
        a, b, borrow = a // 10, b // 10, int(column < 0)
    return "\n".join([*lines, problem.answer])


SUBTRACTION = Family(
    "subtraction",
    draw_subtraction,
    symbolic="{a}-{b}=",
    worded=(
        "What is {a} minus {b}?",
        "Take {b} away from {a}.",
        "Find the difference of {a} and {b}.",
        "Bob has {a} pens and loses {b}. How many are left?",
        "How much larger is {a} than {b}?",
    ),
    widths=lambda d: {"a": d, "b": d, "answer": d},
    difficulty_meaning="digits of each operand",
    answer_format=r"0|[1-9][0-9]*",
    guess_rate=0.02,
    worked=worked_subtraction,
).tasks


def draw_multiplication(rng: Rng, difficulty: int) -> Content:
    long, short = (difficulty + 2) // 2, (difficulty + 1) // 2
    # Never 0, which would be the answer to a fifth of all one-digit products.
    a, b = integer(rng, 10 ** (long - 1), 10**long), integer(rng, 10 ** (short - 1), 10**short)
    return Content(f"multiplication:{min(a, b)},{max(a, b)}", str(a * b), {"a": a, "b": b})


def worked_multiplication(problem: Problem) -> str:
    """Partial products by the digits of b, from the right, each with the sum so far."""
    a, b, total, place, lines = problem.data["a"], problem.data["b"], 0, 1, []
    while b:
        part = a * (b % 10) * place
        total += part
        lines.append(f"{a}*{b % 10 * place}={part}, {total}")
        b, place = b // 10, place * 10
    return "\n".join([*lines, problem.answer])


MULTIPLICATION = Family(
    "multiplication",
    draw_multiplication,
    symbolic="{a}*{b}=",
    worded=(
        "What is {a} times {b}?",
        "Multiply {a} by {b}.",
        "Find the product of {a} and {b}.",
        "{b} boxes hold {a} pens each. How many pens?",
    ),
    widths=lambda d: {"a": (d + 2) // 2, "b": (d + 1) // 2, "answer": d + 1},
    difficulty_meaning="digits of both operands together minus one",
    answer_format=r"[1-9][0-9]*",
    guess_rate=0.01,
    worked=worked_multiplication,
).tasks


def draw_division(rng: Rng, difficulty: int) -> Content:
    a = number(rng, difficulty + 1)
    b = integer(rng, 2, 10) if difficulty <= 5 else integer(rng, 11, 100)
    return Content(f"division:{a},{b}", f"{a // b} r {a % b}", {"a": a, "b": b})


def long_division(dividend: int, divisor: int) -> Iterator[tuple[int, int]]:
    """(number brought down, what is left of it) for each digit of the dividend from the left."""
    rest = 0
    for digit in str(dividend):
        down = 10 * rest + int(digit)
        rest = down % divisor
        yield down, rest


def worked_division(problem: Problem) -> str:
    """Long division: for each digit of a, the number brought down, its quotient digit and what is left."""
    a, b = problem.data["a"], problem.data["b"]
    lines = [f"{down}/{b}={down // b} r {rest}" for down, rest in long_division(a, b)]
    return "\n".join([*lines, problem.answer])


DIVISION = Family(
    "division",
    draw_division,
    symbolic="{a}/{b}=",
    worded=(
        "Divide {a} by {b}, with remainder.",
        "How often does {b} go into {a}, and what is left?",
        "{a} pens fill boxes of {b}. How many boxes, what rest?",
        "Give quotient r remainder of {a} over {b}.",
    ),
    widths=lambda d: {"a": d + 1, "b": 1 + (d > 5), "answer": d + 5 + (d > 5)},
    difficulty_meaning="digits of the dividend minus one; the divisor has one digit, above 5 two",
    answer_format=r"(0|[1-9][0-9]*) r (0|[1-9][0-9]*)",
    guess_rate=0.0,
    worked=worked_division,
).tasks


PRIMES = (11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97)


def draw_modular(rng: Rng, difficulty: int) -> Content:
    a, b, m = number(rng, difficulty), integer(rng, 2, 10), pick(rng, PRIMES)
    return Content(f"modular:{a},{b},{m}", str(a * b % m), {"a": a, "b": b, "m": m})


def worked_modular(problem: Problem) -> str:
    """The product, then its digits from the left, reduced as they come."""
    a, b, m = (problem.data[name] for name in "abm")
    lines = [f"{down} mod {m}={rest}" for down, rest in long_division(a * b, m)]
    return "\n".join([f"{a}*{b}={a * b}", *lines, problem.answer])


MODULAR = Family(
    "modular",
    draw_modular,
    symbolic="{a}*{b} mod {m}=",
    worded=(
        "What is {a} times {b} modulo {m}?",
        "What is left of {a} times {b} after division by {m}?",
        "Multiply {a} by {b}; reduce it modulo {m}.",
        "{b} laps of {a} steps on a ring of {m}: where from 0?",
    ),
    widths=lambda d: {"a": d, "b": 1, "m": 2, "answer": 2},
    difficulty_meaning="digits of the first factor",
    answer_format=r"0|[1-9][0-9]?",
    guess_rate=0.04,
    worked=worked_modular,
).tasks


def draw_explain(rng: Rng, difficulty: int) -> Content:
    content = draw_addition(rng, difficulty)
    problem = Problem("", "", content.answer, difficulty, content.key, content.slots)
    steps = worked_addition(problem).replace("\n", ", ")
    return Content(content.key, steps, {**content.slots, "digits": difficulty})


EXPLAIN = Family(
    "explain",
    draw_explain,
    symbolic="explain {a}+{b}:",
    worded=(
        "Explain step by step how to add {a} and {b}.",
        "Show your steps: {a} plus {b}.",
        "How does one work out {a} and {b} together?",
    ),
    widths=lambda d: {"a": d, "b": d, "answer": len("9+9+1=19, ") * d + len("0+0+1=1, ") + d + 1},
    difficulty_meaning="digits of each operand",
    answer_format=r"[ -~\n]+",
    verify=unscorable,
).tasks
