"""Which task of a study a score belongs to, and in which role."""

from collections.abc import Callable

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
