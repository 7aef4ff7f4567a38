"""Comment a program of `trace`: the register after each line, and what is printed."""

import numpy as np

from envs.base import unscorable
from envs.code.trace import PRINT, content_key, longest, printed, program
from envs.contexts import Content, Family


def draw(rng: np.random.Generator, difficulty: int) -> Content:
    lines, values = program(rng, difficulty)
    register, value = printed(rng, values)
    text = "\n".join([*lines, f"print({register})"])
    answer = "".join(f"{name} is {now}. " for name, now in values) + f"prints {value}."
    return Content(content_key(lines), answer, {"text": text, "events": values, "printed": value})


TASKS = Family(
    "trace_comment",
    draw,
    symbolic="{text}\ncomment:",
    worded=("Say what each line does:\n{text}", "{text}\nComment this program."),
    widths=lambda d: {"text": longest(d) + len(PRINT), "answer": d * len("a is 5. ") + len("prints 5.")},
    difficulty_meaning="lines before the last",
    answer_format=r"[ -~\n]+",
    verify=unscorable,
    difficulties=range(1, 13),
).tasks
