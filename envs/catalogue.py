"""The tasks as Markdown: all of them with examples, guess rates, small difficulties and speed; and in short, a row for
each kind of family, with its dial and what bases reach on it."""

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from envs.base import Problem, Task
from envs.registry import FAMILIES
from envs.splits import distinct_problems

EXAMPLES = (1, 5, 10)
ENOUGH = 512
TIMED = 200
INTRODUCTION = """# Tasks

*Role*: a task with a verifier may be verified or unverified in a study; one without is only ever evaluated, by a
hidden grader. *Guess rate*: success of the best answer that ignores the prompt, averaged over the difficulties.
*Longest*: characters of prompt and answer at the highest difficulty. *Drawn*: problems a second on one core of this
machine. A difficulty that has fewer than 512 problems in the test split is named with the number it has.
↵ is a line break.
"""
Cells = Mapping[str, Sequence[int]]  # by difficulty: correct, completions
SHOWN = 3  # families of a row, before only the first and the last are named
HEAD = """# Tasks

Made by `python scripts/tasks.py page=docs/reference/tasks.md success=docs/reference/success`. `python scripts/tasks.py`
prints the whole catalogue, `python scripts/tasks.py show='[addition.*]'` a part of it: prompts and answers of every
context, guess rates, lengths and how fast problems are drawn.

Every family asks in symbols (`addition.symbolic`) and in words (`addition.worded`). *Difficulty*: what the
number counts. *Unverified only*: no verifier, so never rewarded; a hidden grader evaluates it. *Base success*: percent
right in symbols before any RL at difficulty 1, 2, 3 …, further zeros left out. A study needs cells that the base
solves now and then. Families on which RL has much room have a page with curves: [walk](families/walk.md),
[automaton](families/automaton.md), [cipher](families/cipher.md), [quanta](families/quanta.md),
[fold](families/fold.md), [compose](families/compose.md), [trace](families/trace.md), [ladder](families/ladder.md).
"""


def few_problems(task: Task) -> dict[int, int]:
    """Difficulties with fewer than 512 test problems, and how many they have."""
    counts = {d: len(distinct_problems(task, d, "test", ENOUGH, 0)) for d in task.difficulties}
    return {difficulty: count for difficulty, count in counts.items() if count < ENOUGH}


def draws_per_second(task: Task) -> float:
    """Measured, over all difficulties alike."""
    rng, began = np.random.default_rng(0), time.perf_counter()
    for i in range(TIMED):
        task.draw(rng, task.difficulties[i % len(task.difficulties)])
    return TIMED / (time.perf_counter() - began)


def example(task: Task, difficulty: int) -> Problem:
    """A fixed problem of the training split."""
    return distinct_problems(task, difficulty, "train", 1, 0)[0]


def tasks_page(tasks: Sequence[Task]) -> str:
    """The Markdown page of these tasks, family by family."""
    sections = [section(list(group)) for _, group in groupby(tasks, key=lambda task: task.family)]
    return "\n".join([INTRODUCTION, *sections])


def section(tasks: Sequence[Task]) -> str:
    """One family: what it is, then each context with examples."""
    few = ", ".join(f"{difficulty} ({count})" for difficulty, count in few_problems(tasks[0]).items())
    lines = [
        f"## {tasks[0].family}",
        "",
        summary(tasks[0]),
        *([f"Few problems at difficulty {few}."] if few else []),
        "",
        "| task | difficulty | prompt | answer | longest | drawn |",
        "|---|---|---|---|---|---|",
        *(row for task in tasks for row in rows(task)),
        "",
    ]
    return "\n".join(lines)


def summary(task: Task) -> str:
    """Role, meaning of difficulty, turns and guess rate of a task's family."""
    role = "verified or unverified" if task.has_verifier else "unverified only"
    turns = f" Up to {task.max_turns} turns." if task.max_turns > 1 else ""
    return f"Role: {role}. Difficulty: {task.difficulty_meaning}.{turns} Guess rate: {task.guess_rate:g}."


def rows(task: Task) -> list[str]:
    """A table row for each example; length and speed stand in the first."""
    measures = f"{task.max_prompt} + {task.max_completion} | {draws_per_second(task):,.0f}/s"
    found = []
    for difficulty in [d for d in EXAMPLES if d in task.difficulties] or task.difficulties[:1]:
        problem = example(task, difficulty)
        name = task.name if not found else ""
        found.append(f"| {name} | {difficulty} | {_code(problem.prompt)} | {_code(problem.answer)} | {measures} |")
        measures = " | "
    return found


def _code(text: str) -> str:
    return "`" + text.replace("\n", "↵").replace("|", "\\|") + "`"


def overview(success: Mapping[str, Mapping[str, Any]]) -> str:
    """The page. success: by the base's name what scripts/success.py wrote."""
    names = "".join(f" base success, `{name}` |" for name in success)
    lines = [HEAD, f"| families | asked | difficulty |{names}", "|---|---|---|" + "---|" * len(success)]
    lines += [row(asked, tasks, [each["tasks"] for each in success.values()]) for asked, tasks in FAMILIES.items()]
    lines += ["", *(f"- Base `{name}`: {each['base']}. By `{each['command']}`" for name, each in success.items())]
    return "\n".join(lines) + "\n"


def row(asked: str, tasks: Sequence[Task], measured: Sequence[Mapping[str, Cells]]) -> str:
    families = [f"`{name}`" for name in dict.fromkeys(task.family for task in tasks)]
    named = ", ".join(families) if len(families) <= SHOWN else f"{families[0]} … {families[-1]}"
    role = "" if tasks[0].has_verifier else " *Unverified only.*"
    turns = f" Up to {tasks[0].max_turns} turns." if tasks[0].max_turns > 1 else ""
    cells = [named, asked + turns + role, tasks[0].difficulty_meaning, *(percent(tasks, each) for each in measured)]
    return "| " + " | ".join(cells) + " |"


def percent(tasks: Sequence[Task], measured: Mapping[str, Cells]) -> str:
    """Success by difficulty of the first of these tasks that was measured in symbols; empty where none was."""
    found = next((measured[task.name] for task in tasks if ".symbolic" in task.name and task.name in measured), {})
    return " ".join(_until_zeros([f"{100 * correct / n:.0f}" for correct, n in found.values()]))


def _until_zeros(shares: Sequence[str]) -> Iterator[str]:
    """The shares, and of zeros at the end only the first."""
    for number, share in enumerate(shares):
        yield share
        if all(each == "0" for each in shares[number:]):
            return
