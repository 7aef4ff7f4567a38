"""Hidden scorers of the free-form tasks. Only the harness's evaluation may import this file.

A grader is a function of (problem, completion) to a score in [0, 1], looked up by the family of the problem's task. All
of them multiply soundness, the share of statements that are true and to the point, with coverage, the share of what had
to be said; so padding lowers the score, and repeating oneself does too.
"""

import re
from collections.abc import Callable

from envs.base import Problem


def statements(text: str, separators: str = r"[.;\n]") -> list[str]:
    """The parts between separators, lower case, spaces reduced, empty ones left out."""
    parts = (" ".join(part.lower().split()) for part in re.split(separators, text))
    return [part for part in parts if part]


def score(sound: int, stated: int, covered: float) -> float:
    """Soundness times coverage; nothing stated scores 0."""
    return sound / stated * covered if stated else 0.0


_EQUATION = re.compile(r"([0-9]{1,12}(?:\+[0-9]{1,12}){1,3})=([0-9]{1,13})")
Step = tuple[tuple[int, ...], int]
"""The numbers above 0 that are added, ascending, and their sum."""


def grade_explanation(problem: Problem, completion: str) -> float:
    """Share of sound steps, times the share of digits that have one; 0 if the sum does not end the explanation.

    A step is a true equation of sums: a column of the written method, or a sum of the operands, their place values (40
    of 47) and results of earlier steps.
    """
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


_NUMBER = r"([0-9]{1,6})"
_FILLER = r"(?:it|the list|the|is|are|there|has|of|number|value|all)"
_NUMERIC: dict[str, tuple[str, Callable[[list[int]], int]]] = {
    "size": (rf"{_NUMBER} (?:numbers|values|items)", len),
    "smallest": (rf"(?:smallest|least|lowest|minimum) {_NUMBER}", min),
    "largest": (rf"(?:largest|greatest|highest|maximum) {_NUMBER}", max),
    "sum": (rf"(?:sum|total) {_NUMBER}", sum),
    "first": (rf"first {_NUMBER}", lambda numbers: numbers[0]),
    "last": (rf"last {_NUMBER}", lambda numbers: numbers[-1]),
}
_ORDERED = {"sorted": True, "increasing": True, "ascending": True, "unsorted": False, "not sorted": False}
REQUIRED = ("size", "smallest", "largest", "order")


def grade_description(problem: Problem, completion: str) -> float:
    """Share of statements that are new, true claims, times the share of the required kinds."""
    numbers = problem.data["numbers"]
    stated = statements(completion)
    true_kinds = {kind for statement in stated if (kind := _true_claim(statement, numbers))}
    covered = len(true_kinds.intersection(REQUIRED)) / len(REQUIRED)
    return score(len(true_kinds), len(stated), covered)


def _true_claim(statement: str, numbers: list[int]) -> str | None:
    """The kind of claim that the statement makes, if it makes one and it is true."""
    core = " ".join(word for word in statement.split() if not re.fullmatch(_FILLER, word))
    if core in _ORDERED:
        return "order" if _ORDERED[core] == (numbers == sorted(numbers)) else None
    for kind, (pattern, truth) in _NUMERIC.items():
        match = re.fullmatch(pattern, core)
        if match is not None:
            return kind if int(match[1]) == truth(numbers) else None
    return None


_CLAIM = re.compile(r"(?:set |sets |now |then )?([a-c]) (?:is|becomes|starts at|to|stays|gets) (-?[0-9]{1,6})")
_PRINTED = re.compile(r"(?:it |and |then )?(?:prints|shows|outputs) (-?[0-9]{1,6})")


def grade_comment(problem: Problem, completion: str) -> float:
    """Share of statements that are true of the next lines not yet spoken of, times the share of lines spoken of."""
    events = [*problem.data["events"], ("printed", problem.data["printed"])]
    stated = statements(completion, r"[.;\n#]")
    position = sound = 0
    for statement in stated:
        claim = _claim(statement)
        if claim in events[position:]:
            position = events.index(claim, position) + 1
            sound += 1
    return score(sound, len(stated), sound / len(events))


def _claim(statement: str) -> tuple[str, int] | None:
    """(variable or "printed", value), or None for any other statement."""
    if match := _CLAIM.fullmatch(statement):
        return match[1], int(match[2])
    if match := _PRINTED.fullmatch(statement):
        return "printed", int(match[1])
    return None


LONGEST = 4000
GRADERS: dict[str, Callable[[Problem, str], float]] = {
    "explain": grade_explanation,
    "describe": grade_description,
    "comment": grade_comment,
    "trace_comment": grade_comment,
}


def grade(problem: Problem, completion: str) -> float:
    """The score of a completion in [0, 1]: 1 is right. Raises KeyError, with the names there are, for a problem that
    no grader knows."""
    family = problem.task.split(".")[0]
    if family not in GRADERS:
        raise KeyError(f"no grader for {problem.task!r}: there are graders for {', '.join(GRADERS)}")
    return GRADERS[family](problem, completion) if len(completion) <= LONGEST else 0.0
