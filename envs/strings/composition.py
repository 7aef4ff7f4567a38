"""Named functions on strings, learned alone, then composed to any depth.

Of the 36 ordered pairs of functions, half are the compositions of `composition`, half of `composition_held_out`: every
neighbouring pair of a chain comes from its half, and each half holds every function in both places. A study that
rewards the first and never the second asks whether composing, not the compositions, was learned.
"""

from collections.abc import Callable
from functools import partial
from itertools import accumulate

from envs.base import Problem, Task
from envs.contexts import Content, Family
from envs.draw import Rng, letters, pick

FUNCTIONS: dict[str, Callable[[str], str]] = {
    "f": lambda s: s[::-1],
    "g": lambda s: s[1:] + s[:1],
    "h": lambda s: "".join(sorted(s)),
    "k": lambda s: s[-1:] + s[1:-1] + s[:1] if len(s) > 1 else s,
    "m": lambda s: "".join(chr((ord(letter) - 96) % 26 + 97) for letter in s),
    "n": lambda s: "".join(chr(219 - ord(letter)) for letter in s),
}
MEANINGS = "f reverses, g puts the first last, h sorts, k swaps the ends, m takes the next letter, n mirrors a to z"
NAMES = "".join(FUNCTIONS)
LENGTH = 4


def held_out(outer: str, inner: str) -> bool:
    """Whether the composition outer(inner(x)) belongs to the half that `composition` never shows."""
    return (NAMES.index(outer) - NAMES.index(inner)) % len(NAMES) in (2, 4, 5)


INNER = {
    half: {outer: [inner for inner in NAMES if held_out(outer, inner) == half] for outer in NAMES}
    for half in (False, True)
}


def results(chain: str, text: str) -> list[str]:
    """The values after each function, innermost (the last of `chain`) first."""
    return list(accumulate(reversed(chain), lambda value, name: FUNCTIONS[name](value), initial=text))[1:]


def _content(chain: str, text: str) -> Content:
    nested = "(".join(chain) + f"({text}" + ")" * len(chain)
    slots = {"nested": nested, "order": ", ".join(reversed(chain)), "chain": chain, "text": text}
    return Content(f"functions:{nested}", results(chain, text)[-1], slots)


def draw_alone(rng: Rng, difficulty: int) -> Content:
    return _content(pick(rng, NAMES), letters(rng, difficulty + 1))


def random_chain(held_out: bool, rng: Rng, depth: int) -> str:
    """So many names, whose neighbouring pairs are all of the held-out half, or all of the other."""
    chain = pick(rng, NAMES)
    for _ in range(depth - 1):
        chain += pick(rng, INNER[held_out][chain[-1]])
    return chain


def draw_chain(held_out: bool, rng: Rng, difficulty: int) -> Content:
    return _content(random_chain(held_out, rng, difficulty + 1), letters(rng, LENGTH))


def worked(problem: Problem) -> str:
    """From the inside out, one function a line."""
    chain, text = problem.data["chain"], problem.data["text"]
    lines = [f"{name}: {value}" for name, value in zip(reversed(chain), results(chain, text))]
    return "\n".join([*lines, problem.answer])


def _tasks(
    name: str, draw, depth: Callable[[int], int], length: Callable[[int], int], meaning: str
) -> tuple[Task, ...]:
    return Family(
        name,
        draw,
        symbolic="{nested}=",
        worded=(
            "Apply {order} in turn to {text}.",
            "Start with {text}, use {order}. What comes out?",
            "What becomes of {text} under {order}?",
        ),
        widths=lambda d: {
            "nested": 3 * depth(d) + length(d),
            "order": 3 * depth(d) - 2,
            "text": length(d),
            "answer": length(d),
        },
        difficulty_meaning=meaning,
        answer_format=r"[a-z]+",
        worked=worked,
    ).tasks


TASKS = (
    *_tasks("functions", draw_alone, lambda d: 1, lambda d: d + 1, f"letters minus one; {MEANINGS}"),
    *_tasks("composition", partial(draw_chain, False), lambda d: d + 1, lambda d: LENGTH, "depth minus one"),
    *_tasks(
        "composition_held_out",
        partial(draw_chain, True),
        lambda d: d + 1,
        lambda d: LENGTH,
        "depth minus one, of compositions that the family composition never shows",
    ),
)
