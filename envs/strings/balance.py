"""Whether brackets of three kinds close in order. Half do; the others differ from such in one or two places."""

from envs.base import Problem
from envs.contexts import Content, Family
from envs.draw import Rng, integer, pick

PAIRS = {"(": ")", "[": "]", "{": "}"}
BRACKETS = "()[]{}"


def balanced(text: str) -> bool:
    """Whether every bracket is closed by its own kind, in order."""
    expected: list[str] = []
    for bracket in text:
        if bracket in PAIRS:
            expected.append(PAIRS[bracket])
        elif not expected or bracket != expected.pop():
            return False
    return not expected


def _balanced(rng: Rng, pairs: int) -> str:
    """A random split into an inner and a following part, down to nothing."""
    if pairs == 0:
        return ""
    inside = integer(rng, 0, pairs)
    opening = pick(rng, "([{")
    return opening + _balanced(rng, inside) + PAIRS[opening] + _balanced(rng, pairs - 1 - inside)


def _broken(rng: Rng, text: str) -> str:
    """Two places exchanged, or one bracket replaced."""
    while True:
        marks = list(text)
        i, j = integer(rng, 0, len(marks)), integer(rng, 0, len(marks))
        if rng.random() < 0.5:
            marks[i], marks[j] = marks[j], marks[i]
        else:
            marks[i] = pick(rng, BRACKETS)
        if not balanced("".join(marks)):
            return "".join(marks)


def draw(rng: Rng, difficulty: int) -> Content:
    text = _balanced(rng, difficulty + 2)
    answer = pick(rng, ("yes", "no"))
    text = text if answer == "yes" else _broken(rng, text)
    return Content(f"balance:{text}", answer, {"text": text})


def worked(problem: Problem) -> str:
    """The brackets still open after each; the first that does not fit ends it."""
    expected, lines = "", []
    for bracket in problem.data["text"]:
        if bracket not in PAIRS and not expected.endswith(bracket):
            lines.append(f"{bracket}: stop")
            break
        expected = expected + PAIRS[bracket] if bracket in PAIRS else expected[:-1]
        lines.append(f"{bracket}: {expected}")
    return "\n".join([*lines, problem.answer])


TASKS = Family(
    "balance",
    draw,
    symbolic="closed {text}=",
    worded=(
        "Do the brackets {text} all close in order?",
        "Is {text} balanced?",
        "Does every bracket of {text} match, yes or no?",
        "Check {text}: is it properly nested?",
    ),
    widths=lambda d: {"text": 2 * d + 4, "answer": 3},
    difficulty_meaning="pairs of brackets minus two",
    answer_format=r"yes|no",
    guess_rate=0.515,
    worked=worked,
).tasks
