"""Which line of a program of `trace` is commented with a value that its register does not have?"""

import numpy as np

from envs.code.trace import content_key, longest, program, worked
from envs.contexts import Content, Family
from envs.draw import integer

DIFFICULTIES = range(2, 10)
GUESS_RATE = 0.23


def draw(rng: np.random.Generator, difficulty: int) -> Content:
    lines, values = program(rng, difficulty)
    fault = integer(rng, 0, difficulty)
    claimed = [value for _, value in values]
    claimed[fault] = (claimed[fault] + integer(rng, 1, 10)) % 10
    text = "\n".join(f"{line}#{value}" for line, value in zip(lines, claimed))
    return Content(content_key(lines), str(fault + 1), {"text": text, "values": values})


TASKS = Family(
    "trace_fault",
    draw,
    symbolic="{text}\nfault:",
    worded=(
        "Which line has a wrong comment?\n{text}",
        "{text}\nOne comment is false. In which line?",
    ),
    widths=lambda d: {"text": longest(d) + d * len("#0") - 1, "answer": 1},
    difficulty_meaning="lines of the program",
    answer_format=r"[1-9]",
    guess_rate=GUESS_RATE,
    worked=worked,
    difficulties=DIFFICULTIES,
).tasks
