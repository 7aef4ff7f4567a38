"""Which task of a study a score belongs to, and in which role."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from envs.registry import select
from harness.config.schema import Config

ROLES = ("verified", "unverified")
LONGER = " longer"  # joins the name of a task at difficulties that are only evaluated


def roles_of(config: Config) -> Callable[[str, int], tuple[str, str]]:
    """(task, difficulty) -> (role, task of the study). Difficulties that are only evaluated make a task of their own,
    which is unverified."""
    verified = {task.name for task in select(config.tasks.verified)}
    held_out = config.tasks.held_out_difficulties

    def role_and_task(task: str, difficulty: int) -> tuple[str, str]:
        if difficulty in held_out:
            return "unverified", task + LONGER
        return "verified" if task in verified else "unverified", task

    return role_and_task


def phases_of(verified: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """The names of the tasks of each phase of a sequence: those that an entry stands for, and no entry before it."""
    phases: list[tuple[str, ...]] = []
    for entry in verified:
        earlier = {name for names in phases for name in names}
        phases.append(tuple(task.name for task in select([entry]) if task.name not in earlier))
    return tuple(phases)


def cells_there(cells: Iterable[tuple[str, str, Any, str]]) -> str:
    """Which roles, tasks, difficulties and settings there are among (role, task, difficulty, setting) of cells."""
    kinds = zip(("roles", "tasks", "difficulties", "settings"), zip(*cells))
    return "there are " + "; ".join(f"{kind} {', '.join(map(repr, dict.fromkeys(each)))}" for kind, each in kinds)
