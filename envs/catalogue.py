"""All tasks with examples, guess rates, small difficulties and speed, as Markdown. In short: overview.py."""

import time
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from envs.base import Problem, Task
from envs.registry import get
from envs.splits import distinct_problems

EXAMPLES = (1, 5, 10)
ENOUGH = 512
TIMED = 200
LEVELS = range(1, 11)
EASY, HARD = 0.8, 0.05
INTRODUCTION = """# Tasks

*Role*: a task with a verifier may be verified or unverified in a study; one without is only ever evaluated, by a
hidden grader. *Guess rate*: success of the best answer that ignores the prompt, averaged over the difficulties.
*Longest*: characters of prompt and answer at the highest difficulty. *Drawn*: problems a second on one core of this
machine. A difficulty that has fewer than 512 problems in the test split is named with the number it has.
↵ is a line break.
"""
SUCCESS = """## Initial success

In percent, before any RL, by difficulty. Base: {base}.
Made by `{command}`.
A study needs success that spreads: {easy:.0%} or more somewhere and {hard:.0%} or less somewhere else; the last column
says where it does not, and why.
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


def page(tasks: Sequence[Task], success: Sequence[Mapping[str, Any]] = ()) -> str:
    """The Markdown page of these tasks, family by family; at its end, what was measured of initial success."""
    sections = [section(list(group)) for _, group in groupby(tasks, key=lambda task: task.family)]
    return "\n".join([INTRODUCTION, *sections, *map(success_section, success)])


def success_section(success: Mapping[str, Any]) -> str:
    """Success of a base by difficulty, and whether it spreads as far as studies need. `success` is what
    scripts/success.py wrote: {"command": …, "base": a sentence, "tasks": {name: {difficulty: [correct, completions]}}}.

    Raises UnknownTask for a task that is no longer there.
    """
    header = [f"| task | {' | '.join(map(str, LEVELS))} | spread |", f"|---|{'---|' * len(LEVELS)}---|"]
    rows = [success_row(get(name), cells) for name, cells in success["tasks"].items()]
    return "\n".join(
        [SUCCESS.format(command=success["command"], base=success["base"], easy=EASY, hard=HARD), *header, *rows, ""]
    )


def success_row(task: Task, cells: Mapping[str, Sequence[int]]) -> str:
    """A task's success at each difficulty; a cell without problems in the split is empty."""
    shares = {int(difficulty): correct / n for difficulty, (correct, n) in cells.items()}
    shown = (f"{100 * shares[d]:.0f}" if d in shares else "" for d in LEVELS)
    return f"| {task.name} | {' | '.join(shown)} | {spread(task, list(shares.values()))} |"


def spread(task: Task, shares: Sequence[float]) -> str:
    """ "yes", or what is missing of a spread from EASY to HARD, and why."""
    easiest, hardest = max(shares), min(shares)
    missing = []
    if easiest < EASY:
        missing.append(f"at most {easiest:.0%}: not learned in so much pretraining")
    if hardest > HARD:
        guessed = f"guessing gives {task.guess_rate:.0%}" if task.guess_rate > HARD / 2 else "no harder one was asked"
        missing.append(f"at least {hardest:.0%}: {guessed}")
    return "; ".join(missing) or "yes"


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
