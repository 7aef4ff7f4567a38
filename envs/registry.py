"""Every task by name, in one explicit dict, each a registered Gymnasium environment; and `register` for users' own."""

import difflib
import fnmatch
import re
from collections.abc import Sequence

import gymnasium

from envs.arithmetic import (
    addition,
    base_conversion,
    chains,
    comparison,
    countdown,
    division,
    gcd,
    linear_equations,
    maximum,
    modular,
    multiplication,
    subtraction,
)
from envs.base import Task
from envs.code import check, expression, function, output, repair, trace, trace_check, trace_fault
from envs.in_context import induction, regression, ring
from envs.language import comment, describe, explain, trace_comment
from envs.lookup import automaton, cipher, compose, fold, quanta, walk
from envs.strings import balance, composition, counting, deduplication, reversal, sorting, substitution
from envs.tools import calculator, guess_number, spell, spreadsheet, store, translate

MODULES = (
    addition,
    subtraction,
    multiplication,
    division,
    modular,
    comparison,
    chains,
    gcd,
    base_conversion,
    linear_equations,
    countdown,
    maximum,
    reversal,
    sorting,
    deduplication,
    counting,
    balance,
    substitution,
    composition,
    regression,
    induction,
    ring,
    calculator,
    store,
    spreadsheet,
    guess_number,
    output,
    expression,
    function,
    repair,
    check,
    explain,
    describe,
    comment,
    walk,
    automaton,
    fold,
    cipher,
    quanta,
    compose,
    trace,
    trace_check,
    trace_fault,
    trace_comment,
    translate,
    spell,
)
TASKS: dict[str, Task] = {task.name: task for module in MODULES for task in module.TASKS}


class UnknownTask(ValueError):
    """No task of that name, or none that matches that pattern."""

    def __init__(self, pattern: str):
        words = [*TASKS, *{task.family for task in TASKS.values()}]
        nearest = difflib.get_close_matches(pattern, words, n=3, cutoff=0.5)
        advice = f"did you mean {', '.join(nearest)}?" if nearest else f"known tasks: {', '.join(TASKS)}."
        super().__init__(f"no task is called {pattern!r}; {advice} Your own tasks need imports=[your_package].")


def get(name: str) -> Task:
    """The task of exactly this name. Raises UnknownTask, with the nearest names."""
    if name not in TASKS:
        raise UnknownTask(name)
    return TASKS[name]


def select(patterns: Sequence[str]) -> tuple[Task, ...]:
    """The tasks that any of the names or patterns ("*.symbolic") matches, in the registry's order, without repeats.

    Raises UnknownTask for a pattern that matches nothing.
    """
    chosen: set[str] = set()
    for pattern in patterns:
        matches = fnmatch.filter(TASKS, pattern)
        if not matches:
            raise UnknownTask(pattern)
        chosen.update(matches)
    return tuple(task for name, task in TASKS.items() if name in chosen)


def register(task: Task) -> None:
    """Makes a task of one's own available by name, and as a Gymnasium environment.

    Raises ValueError if the name is taken, is not family.context, or if the difficulties are empty.
    """
    if task.name in TASKS:
        raise ValueError(f"a task called {task.name!r} is registered already: give yours another name")
    if not re.fullmatch(r"[\w-]+\.[\w-]+", task.name) or task.name != f"{task.family}.{task.context}":
        raise ValueError(f"task {task.name!r}: the name must be family.context, here {task.family}.{task.context}")
    if not task.difficulties:
        raise ValueError(f"task {task.name!r} has no difficulties: give at least one, such as (1,)")
    TASKS[task.name] = task
    register_environment(task)


def register_environment(task: Task) -> None:
    """Gymnasium's own registration, as rl_scaling/NAME-v0 and, token by token, rl_scaling/NAME-tokens-v0."""
    gymnasium.register(
        id=f"rl_scaling/{task.name}-v0",
        entry_point="envs.text_env:TextEnv",
        vector_entry_point="envs.vector:TextVectorEnv",
        kwargs={"task": task.name},
    )
    gymnasium.register(
        id=f"rl_scaling/{task.name}-tokens-v0", entry_point="envs.token_env:TokenEnv", kwargs={"task": task.name}
    )
