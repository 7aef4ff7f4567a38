"""Hidden scorers of the free-form tasks. Only the harness's evaluation may import this folder.

A grader is a function of (problem, completion) to a score in [0, 1], looked up by the family of the problem's task. All
of them multiply soundness, the share of statements that are true and to the point, with coverage, the share of what had
to be said; so padding lowers the score, and repeating oneself does too.
"""

from collections.abc import Callable
from dataclasses import dataclass

from envs.base import Correctness, Problem
from envs.graders.comment import grade_comment
from envs.graders.describe import grade_description
from envs.graders.explain import grade_explanation

LONGEST = 4000

GRADERS: dict[str, Callable[[Problem, str], float]] = {
    "explain": grade_explanation,
    "describe": grade_description,
    "comment": grade_comment,
    "trace_comment": grade_comment,
}


@dataclass(frozen=True)
class Grade:
    """`score` in [0, 1]; `correctness` CORRECT for a full score, WRONG below."""

    score: float
    correctness: Correctness


def grade(problem: Problem, completion: str) -> Grade:
    """The grade of a completion. Raises KeyError, with the names there are, for a problem that no grader knows."""
    family = problem.task.split(".")[0]
    if family not in GRADERS:
        raise KeyError(f"no grader for {problem.task!r}: there are graders for {', '.join(GRADERS)}")
    score = GRADERS[family](problem, completion) if len(completion) <= LONGEST else 0.0
    return Grade(score, Correctness.CORRECT if score == 1 else Correctness.WRONG)
