"""The tasks in short, as Markdown: a row for each kind of family, with its dial and what bases reach on it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from envs.base import Task
from envs.registry import FAMILIES

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
