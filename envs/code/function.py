"""Write a short Python function on strings from examples: the lines of its body, which change s and then return it."""

import itertools
import re
from collections.abc import Callable

from envs.base import Correctness, Problem
from envs.code.formula import judge
from envs.contexts import Content, Family
from envs.draw import Rng, integer, letters, pick

LINES: dict[str, Callable[[str], str]] = {  # with their meaning
    "s=s[::-1]": lambda s: s[::-1],
    "s=s[1:]+s[:1]": lambda s: s[1:] + s[:1],
    "s=s[1:]": lambda s: s[1:],
    "s=s+s[:1]": lambda s: s + s[:1],
    "s=s[-1:]+s[:-1]": lambda s: s[-1:] + s[:-1],
}
SHOWN, HIDDEN = 3, 5
LONGEST = 200


def depth(difficulty: int) -> int:
    """Lines of the function that was meant."""
    return (difficulty + 1) // 2


def _apply(chain: list[str], text: str) -> str:
    for line in chain:
        text = LINES[line](text)
    return text


def draw(rng: Rng, difficulty: int) -> Content:
    texts = [letters(rng, integer(rng, 3, 6 - difficulty % 2), "abcdefgh") for _ in range(SHOWN + HIDDEN)]
    lines = list(LINES)
    while True:
        chain = [pick(rng, lines) for _ in range(depth(difficulty))]
        tests = {text: _apply(chain, text) for text in texts}
        # Not an idempotent chain: examples could not tell it from the same chain twice.
        if any(_apply(chain, image) != image for image in tests.values()):
            break
    examples = " ".join(f"{text}>{tests[text]}" for text in texts[:SHOWN])
    numbers = ",".join(str(lines.index(line)) for line in chain)
    slots = {"examples": examples, "tests": tests, "chain": chain}
    return Content(f"function:{numbers}:{examples}", "\n".join(chain), slots)


def worked(problem: Problem) -> str:
    """The first example after each line, then the lines."""
    text, chain = next(iter(problem.data["tests"])), problem.data["chain"]
    stages = [_apply(chain[:i], text) for i in range(len(chain) + 1)]
    return "\n".join([*(f"{a}>{b}" for a, b in itertools.pairwise(stages)), problem.answer])


def verify(problem: Problem, completion: str) -> Correctness:
    """CORRECT if the function with these lines is right on the shown and the hidden texts.

    Up to 200 ASCII characters count, without space or line breaks around them. UNSCORABLE if the worker was lost.
    """
    if len(completion) > LONGEST or not re.fullmatch(r"[!-~]|[!-~][ -~\n]*[!-~]", completion):
        return Correctness.WRONG
    body = completion.replace("\n", "\n ")
    return judge(f"def f(s):\n {body}\n return s", problem.data["tests"])


def _widths(difficulty: int) -> dict[str, int]:
    text = 5 - difficulty % 2
    return {
        "examples": SHOWN * (2 * text + depth(difficulty) + 2) - 1,
        "answer": depth(difficulty) * (max(map(len, LINES)) + 1) - 1,
    }


TASKS = Family(
    "function",
    draw,
    symbolic="{examples} def f(s):\n",
    worded=(
        "Write Python lines that turn {examples}:\n",
        "s becomes: {examples}. Give the code.\n",
        "Change s so that {examples}:\n",
    ),
    widths=_widths,
    difficulty_meaning="two for each line of code, minus one where the texts have at most four letters, not five",
    answer_format=r"[!-~][ -~\n]*",
    guess_rate=0.055,
    verify=verify,
    worked=worked,
).tasks
