"""Comments on a program: what each line makes of its variable, in the program's order, and what is printed."""

import re

from envs.base import Problem
from envs.graders.statements import score, statements

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
