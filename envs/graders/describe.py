"""Claims about a list of numbers: each must be true, and size, smallest, largest and order must be among them."""

import re
from collections.abc import Callable

from envs.base import Problem
from envs.graders.statements import score, statements

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
