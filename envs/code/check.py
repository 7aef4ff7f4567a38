"""Does a program satisfy its assertion? Half do, whatever the assertion's form, so guessing is worth .5."""

import numpy as np

from envs.code.straight import longest, program, worked
from envs.contexts import Content, Family
from envs.draw import integer, pick


def draw(rng: np.random.Generator, difficulty: int) -> Content:
    lines, states = program(rng, difficulty)
    name, relation, answer = pick(rng, "ab"), pick(rng, ("==", "<", ">")), pick(rng, ("yes", "no"))
    value, gap = states[-1][name], integer(rng, 1, 6)
    if relation == "==":
        bound = value if answer == "yes" else value + pick(rng, (-gap, gap))
    else:
        above = (relation == "<") == (answer == "yes")
        # A failing strict comparison may fail by equality.
        bound = value + (gap if above else -gap) if answer == "yes" else value + (gap - 1 if above else 1 - gap)
    text = "\n".join([*lines, f"assert {name}{relation}{bound}"])
    return Content(f"check:{text}", answer, {"text": text, "states": states})


TASKS = Family(
    "check",
    draw,
    symbolic="{text}\npasses?",
    worded=(
        "Does the assertion hold, yes or no?\n{text}",
        "{text}\nWill this run without error?",
        "Is the last line true?\n{text}",
    ),
    widths=lambda d: {"text": longest(d) + len("assert a==-1004"), "answer": 3},
    difficulty_meaning="statements after the two assignments",
    answer_format=r"yes|no",
    guess_rate=0.515,
    worked=worked,
).tasks
