"""Comment a program: say what each line does to its variable, and what is printed."""

import numpy as np

from envs.base import unscorable
from envs.code.straight import State, longest, program
from envs.contexts import Content, Family
from envs.draw import pick


def events(lines: list[str], states: list[State]) -> list[tuple[str, int]]:
    """(variable, value after it) of each line, in order."""
    first = [("a", states[0]["a"]), ("b", states[0]["b"])]
    targets = [line.split(":")[-1][0] for line in lines[2:]]
    return first + [(name, state[name]) for name, state in zip(targets, states[1:])]


def draw(rng: np.random.Generator, difficulty: int) -> Content:
    lines, states = program(rng, difficulty)
    name = pick(rng, "ab")
    text = "\n".join([*lines, f"print({name})"])
    facts = events(lines, states)
    answer = "".join(f"{variable} is {value}. " for variable, value in facts) + f"prints {states[-1][name]}."
    return Content(f"output:{text}", answer, {"text": text, "events": facts, "printed": states[-1][name]})


TASKS = Family(
    "comment",
    draw,
    symbolic="{text}\ncomment:",
    worded=(
        "Say what each line does:\n{text}",
        "{text}\nComment this program.",
        "Explain the program\n{text}",
    ),
    widths=lambda d: {
        "text": longest(d) + len("print(a)"),
        "answer": len("a is -999. ") * (d + 2) + len("prints -999."),
    },
    difficulty_meaning="statements after the two assignments",
    answer_format=r"[ -~\n]+",
    verify=unscorable,
).tasks
