"""Does a program of `trace` satisfy its last line, an assertion? Half do."""

import numpy as np

from envs.code.trace import content_key, longest, printed, program, worked
from envs.contexts import Content, Family
from envs.draw import integer, pick


def draw(rng: np.random.Generator, difficulty: int) -> Content:
    lines, values = program(rng, difficulty)
    register, value = printed(rng, values)
    answer = pick(rng, ("yes", "no"))
    claimed = value if answer == "yes" else (value + integer(rng, 1, 10)) % 10
    text = "\n".join([*lines, f"assert {register}=={claimed}"])
    return Content(content_key(lines), answer, {"text": text, "values": values})


TASKS = Family(
    "trace_check",
    draw,
    symbolic="{text}\npasses?",
    worded=(
        "Does the assertion hold, yes or no?\n{text}",
        "{text}\nWill this run without error?",
        "Is the last line true?\n{text}",
    ),
    widths=lambda d: {"text": longest(d) + len("assert a==0"), "answer": 3},
    difficulty_meaning="lines before the assertion",
    answer_format=r"yes|no",
    guess_rate=0.515,
    worked=worked,
    difficulties=range(1, 13),
).tasks
