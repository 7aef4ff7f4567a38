"""Every task by name, in one explicit dict, each a registered Gymnasium environment; and `register` for users' own."""

import difflib
import fnmatch
import re
from collections.abc import Sequence
from typing import Any

import gymnasium

from envs.arithmetic.expression import CHAINS, COUNTDOWN
from envs.arithmetic.numbers import BASE_CONVERSION, COMPARISON, DESCRIBE, GCD, LINEAR_EQUATIONS, MAXIMUM
from envs.arithmetic.operations import ADDITION, DIVISION, EXPLAIN, MODULAR, MULTIPLICATION, SUBTRACTION
from envs.base import Task
from envs.code import function
from envs.code.formula import EXPRESSION, REPAIR
from envs.code.straight import CHECK, COMMENT, OUTPUT
from envs.code.trace import TRACE, TRACE_CHECK, TRACE_COMMENT, TRACE_FAULT
from envs.in_context import induction, regression, ring
from envs.lookup import automaton, cipher, compose, fold, quanta, walk
from envs.strings import balance, composition
from envs.strings.letters import COUNTING, DEDUPLICATION, REVERSAL, SORTING, SUBSTITUTION
from envs.tools import calculator, guess_number
from envs.tools.table import SPELL, SPREADSHEET, STORE, TRANSLATE


def described(*modules: Any) -> dict[str, tuple[Task, ...]]:
    """The tasks of each module, by the first sentence of its docstring."""
    texts = (" ".join((each.__doc__ or each.__name__).split()) for each in modules)
    return {re.split(r"(?<=[.?])\s", text)[0]: each.TASKS for text, each in zip(texts, modules)}


# By what is asked. Mixtures draw in this order, and it is part of a run's identity: a new family goes to the end.
FAMILIES: dict[str, tuple[Task, ...]] = {
    "Addition of two numbers of equal length.": ADDITION,
    "Subtraction that stays at or above zero.": SUBTRACTION,
    "Multiplication of whole numbers.": MULTIPLICATION,
    "Division with remainder.": DIVISION,
    "Products modulo a two-digit prime: a composite one would make 0 the answer to guess.": MODULAR,
    "Which of two numbers is larger.": COMPARISON,
    "Chains of operations with precedence and parentheses.": CHAINS,
    "Greatest common divisor.": GCD,
    "Numbers written in another base.": BASE_CONVERSION,
    "Linear equations in one unknown.": LINEAR_EQUATIONS,
    "Reach a target from given numbers: many answers are right, so the verifier computes.": COUNTDOWN,
    "The largest number of a list.": MAXIMUM,
    "A string backwards.": REVERSAL,
    "The letters of a string in alphabetical order.": SORTING,
    "A string without repeats: the first of each letter stays.": DEDUPLICATION,
    "How often a letter stands in a string.": COUNTING,
    **described(balance),
    "A substitution cipher whose key stands in the prompt.": SUBSTITUTION,
    **described(composition, regression, induction, ring, calculator),
    "A key-value store in which every value is a key: follow it so many times.": STORE,
    "A small spreadsheet, read cell by cell: each formula refers to one other cell, the last to none.": SPREADSHEET,
    **described(guess_number),
    "Predict what a program prints.": OUTPUT,
    "Write an expression from input and output examples; it must also be right where no example was shown.": EXPRESSION,
    **described(function),
    "Mend a formula in which one number, variable or operator is wrong, so that its tests pass.": REPAIR,
    "Does a program satisfy its assertion?": CHECK,
    "Explain the steps of an addition.": EXPLAIN,
    "Describe a list of numbers.": DESCRIBE,
    "Comment a program: say what each line does to its variable, and what is printed.": COMMENT,
    **described(walk, automaton, fold, cipher, quanta, compose),
    "What a straight program of one to twelve lines on three registers of one digit prints.": TRACE,
    "Does a program of `trace` satisfy its last line, an assertion?": TRACE_CHECK,
    "Which line of a program of `trace` is commented with a value that its register does not have?": TRACE_FAULT,
    "Comment a program of `trace`: the register after each line, and what is printed.": TRACE_COMMENT,
    "A word in a code that only the tool has: look up letter by letter, then write the word.": TRANSLATE,
    "A word that only the tool has: read it place by place, then write it.": SPELL,
}
TASKS: dict[str, Task] = {task.name: task for tasks in FAMILIES.values() for task in tasks}


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
