"""Which number is larger, what divides it, how it is written in another base, which one solves an equation."""

import math

import numpy as np

from envs.base import Problem, unscorable
from envs.contexts import Content, Family
from envs.draw import Rng, integer, letters, number, pick

DIGITS = "0123456789"


def draw_comparison(rng: Rng, difficulty: int) -> Content:
    a = b = str(number(rng, difficulty))
    relation = pick(rng, "<=>")
    if relation != "=":
        place = integer(rng, 0, difficulty)
        lowest = 1 if place == 0 and difficulty > 1 else 0
        low = integer(rng, lowest, 9)
        high = integer(rng, low + 1, 10)
        tails = [letters(rng, difficulty - place - 1, DIGITS) for _ in range(2)]
        small, large = f"{a[:place]}{low}{tails[0]}", f"{a[:place]}{high}{tails[1]}"
        a, b = (small, large) if relation == "<" else (large, small)
    return Content(f"comparison:{a},{b}", relation, {"a": a, "b": b})


def worked_comparison(problem: Problem) -> str:
    """Digit pairs from the left up to the first that differ."""
    lines = []
    for a, b in zip(problem.data["a"], problem.data["b"]):
        lines.append(f"{a}{'<' if a < b else '>' if a > b else '='}{b}")
        if a != b:
            break
    return "\n".join([*lines, problem.answer])


COMPARISON = Family(
    "comparison",
    draw_comparison,
    symbolic="{a} ? {b}:",
    worded=(
        "Compare {a} with {b}: <, = or >?",
        "Which sign belongs between {a} and {b}?",
        "Put <, = or > between {a} and {b}.",
    ),
    widths=lambda d: {"a": d, "b": d, "answer": 1},
    difficulty_meaning="digits of each number",
    answer_format=r"[<=>]",
    guess_rate=0.345,
    worked=worked_comparison,
).tasks


def draw_gcd(rng: Rng, difficulty: int) -> Content:
    # The answer is drawn first, uniformly: the gcd of uniform numbers is 1 six times in ten.
    divisor = integer(rng, 1, 31)
    while True:
        x, y = (integer(rng, 1, 3 * 2**difficulty + 1) for _ in range(2))
        if math.gcd(x, y) == 1:
            a, b = divisor * x, divisor * y
            return Content(f"gcd:{min(a, b)},{max(a, b)}", str(divisor), {"a": a, "b": b})


def worked_gcd(problem: Problem) -> str:
    """Euclid's remainders."""
    a, b, lines = problem.data["a"], problem.data["b"], []
    while b:
        lines.append(f"{a} mod {b}={a % b}")
        a, b = b, a % b
    return "\n".join([*lines, problem.answer])


GCD = Family(
    "gcd",
    draw_gcd,
    symbolic="gcd {a} {b}=",
    worded=(
        "What is the greatest common divisor of {a} and {b}?",
        "Which largest number divides both {a} and {b}?",
        "Find the highest common factor of {a} and {b}.",
        "{a} pens, {b} cups: most kits, all alike, none left?",
    ),
    widths=lambda d: {"a": len(str(90 * 2**d)), "b": len(str(90 * 2**d)), "answer": 2},
    difficulty_meaning="log2 of the largest cofactor over 3; the divisor is up to 30",
    answer_format=r"[1-9][0-9]*",
    guess_rate=0.035,
    worked=worked_gcd,
).tasks


def draw_base_conversion(rng: Rng, difficulty: int) -> Content:
    n, base = integer(rng, 2 ** (difficulty + 2), 2 ** (difficulty + 3)), integer(rng, 2, 10)
    return Content(f"base_conversion:{n},{base}", np.base_repr(n, base), {"n": n, "base": base})


def worked_base_conversion(problem: Problem) -> str:
    """Division by the base until nothing is left; the remainders read upwards."""
    n, base, lines = problem.data["n"], problem.data["base"], []
    while n:
        lines.append(f"{n}/{base}={n // base} r {n % base}")
        n //= base
    return "\n".join([*lines, problem.answer])


BASE_CONVERSION = Family(
    "base_conversion",
    draw_base_conversion,
    symbolic="{n} in base {base}=",
    worded=(
        "Write {n} in base {base}.",
        "How is {n} written with the {base} digits from 0?",
        "Convert {n} from base ten to base {base}.",
        "What does {n} look like in base {base}?",
    ),
    widths=lambda d: {"n": len(str(2 ** (d + 3))), "base": 1, "answer": d + 3},
    difficulty_meaning="binary digits minus three",
    answer_format=r"0|[1-9][0-9]*",
    guess_rate=0.015,
    worked=worked_base_conversion,
).tasks


def draw_linear_equations(rng: Rng, difficulty: int) -> Content:
    x = number(rng, (difficulty + 1) // 2)
    a, b = integer(rng, 2, 10), integer(rng, 1, 100)
    # Even difficulties have the unknown on both sides.
    c = 0 if difficulty % 2 else integer(rng, 1, a)
    right = a * x + b - c * x
    text = f"{a}x+{b}={right}" if c == 0 else f"{a}x+{b}={c}x+{right}"
    return Content(f"linear_equations:{text}", str(x), {"text": text, "a": a, "b": b, "c": c, "right": right})


def worked_linear_equations(problem: Problem) -> str:
    """Collect the unknown, then divide."""
    a, b, c, right = (problem.data[name] for name in ("a", "b", "c", "right"))
    return "\n".join([f"{a - c}x={right}-{b}={right - b}", f"x={right - b}/{a - c}", problem.answer])


def _equation_widths(difficulty: int) -> dict[str, int]:
    digits = (difficulty + 1) // 2
    right = len(str(9 * (10**digits - 1) + 99))
    return {"text": 6 + right + 3 * (difficulty % 2 == 0), "answer": digits}


LINEAR_EQUATIONS = Family(
    "linear_equations",
    draw_linear_equations,
    symbolic="{text}, x=",
    worded=(
        "Solve {text} for x.",
        "For which x does {text} hold?",
        "Find x if {text}.",
        "An x satisfies {text}. Which?",
    ),
    widths=_equation_widths,
    difficulty_meaning="digits of x times two, minus one where x stands on one side only",
    answer_format=r"0|[1-9][0-9]*",
    guess_rate=0.025,
    worked=worked_linear_equations,
).tasks


def draw_maximum(rng: Rng, difficulty: int) -> Content:
    # The maximum is drawn first, uniformly: were the items uniform, "99" would be right ever more often on long lists.
    largest = integer(rng, 10, 100)
    items = [integer(rng, 10, largest + 1) for _ in range(difficulty)]
    items.insert(integer(rng, 0, difficulty + 1), largest)
    text = " ".join(map(str, items))
    return Content(f"maximum:{text}", str(largest), {"items": text})


def worked_maximum(problem: Problem) -> str:
    """The largest so far, item by item."""
    largest, lines = 0, []
    for item in map(int, problem.data["items"].split()):
        largest = max(largest, item)
        lines.append(f"{item}: {largest}")
    return "\n".join([*lines, problem.answer])


MAXIMUM = Family(
    "maximum",
    draw_maximum,
    symbolic="max {items}=",
    worded=(
        "Which is the largest of {items}?",
        "Find the biggest number in {items}.",
        "The scores were {items}. What was the best?",
        "Name the maximum of the list {items}.",
    ),
    widths=lambda d: {"items": 3 * d + 2, "answer": 2},
    difficulty_meaning="numbers in the list minus one",
    answer_format=r"[1-9][0-9]",
    guess_rate=0.02,
    worked=worked_maximum,
).tasks


def draw_describe(rng: Rng, difficulty: int) -> Content:
    numbers = [integer(rng, 1, 100) for _ in range(difficulty + 1)]
    if rng.random() < 0.5:
        numbers.sort()
    order = "sorted" if numbers == sorted(numbers) else "unsorted"
    text = " ".join(map(str, numbers))
    answer = f"{len(numbers)} numbers. smallest {min(numbers)}. largest {max(numbers)}. {order}."
    return Content(f"describe:{text}", answer, {"text": text, "numbers": numbers})


DESCRIBE = Family(
    "describe",
    draw_describe,
    symbolic="describe {text}:",
    worded=(
        "Describe the list {text}.",
        "What can you say of {text}?",
        "Tell me about the numbers {text}.",
    ),
    widths=lambda d: {"text": 3 * d + 2, "answer": len("11 numbers. smallest 99. largest 99. unsorted.")},
    difficulty_meaning="numbers in the list minus one",
    answer_format=r"[ -~\n]+",
    guess_rate=0.002,
    verify=unscorable,
).tasks
