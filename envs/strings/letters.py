"""Strings reversed, sorted, without repeats, counted or encoded: all worked letter by letter."""

from collections.abc import Callable, Sequence
from functools import partial
from string import ascii_lowercase

from envs.base import Problem, Task
from envs.contexts import Content, Family
from envs.draw import Rng, integer, letters, pick, shuffled


def _worked(value: Callable[[str], object], problem: Problem) -> str:
    """Each letter, and the value of the text up to it."""
    text = problem.data["text"]
    return "\n".join([*(f"{text[i]}: {value(text[: i + 1])}" for i in range(len(text))), problem.answer])


def _draw(name: str, function: Callable[[str], str], more: int, alphabet: str, rng: Rng, difficulty: int) -> Content:
    text = letters(rng, difficulty + more, alphabet)
    return Content(f"{name}:{text}", function(text), {"text": text})


def _tasks(
    name: str,
    function: Callable[[str], str],
    symbolic: str,
    worded: Sequence[str],
    meaning: str = "letters minus one",
    more: int = 1,
    alphabet: str = ascii_lowercase,
) -> tuple[Task, ...]:
    """The answer is the function of a text of `more` letters than the difficulty."""
    return Family(
        name,
        partial(_draw, name, function, more, alphabet),
        symbolic=symbolic,
        worded=worded,
        widths=lambda d: {"text": d + more, "answer": min(d + more, len(alphabet))},
        difficulty_meaning=meaning,
        answer_format=f"[a-{alphabet[-1]}]+",
        worked=partial(_worked, function),
    ).tasks


REVERSAL = _tasks(
    "reversal",
    lambda text: text[::-1],
    "reverse {text}=",
    (
        "Write {text} backwards.",
        "What is {text} spelled from the end?",
        "Turn the word {text} around.",
        "Read {text} from right to left.",
    ),
)
SORTING = _tasks(
    "sorting",
    lambda text: "".join(sorted(text)),
    "sort {text}=",
    (
        "Sort the letters of {text}.",
        "Put {text} in alphabetical order.",
        "Which letters of {text} come first to last?",
        "Arrange {text} from a to z.",
    ),
)
DEDUPLICATION = _tasks(
    "deduplication",
    lambda text: "".join(dict.fromkeys(text)),
    "unique {text}=",
    (
        "Drop every repeated letter of {text}.",
        "Write {text} with only the first of each letter.",
        "Which letters does {text} have, in order of appearance?",
        "Remove duplicates from {text}.",
    ),
    "letters (of the first eight) minus two",
    more=2,
    alphabet="abcdefgh",
)

MOST = 4


def draw_counting(rng: Rng, difficulty: int) -> Content:
    # The count is drawn first, uniformly, so that guessing is worth the same at every length.
    letter, count = pick(rng, ascii_lowercase), integer(rng, 0, MOST + 1)
    rest = letters(rng, difficulty + 4 - count, ascii_lowercase.replace(letter, ""))
    text = "".join(shuffled(rng, letter * count + rest))
    return Content(f"counting:{letter},{text}", str(count), {"letter": letter, "text": text})


COUNTING = Family(
    "counting",
    draw_counting,
    symbolic="count {letter} {text}=",
    worded=(
        "How many times is {letter} in {text}?",
        "Count the letter {letter} in {text}.",
        "How often does {text} contain {letter}?",
        "Of all letters of {text}, how many are {letter}?",
    ),
    widths=lambda d: {"letter": 1, "text": d + 4, "answer": 1},
    difficulty_meaning="letters minus four; the count is 0 to 4",
    answer_format=r"[0-9]",
    guess_rate=0.21,
    worked=lambda problem: _worked(lambda text: text.count(problem.data["letter"]), problem),
).tasks

PLAIN = "abcd"
CIPHER = "efghijklmnopqrstuvwxyz"


def draw_substitution(rng: Rng, difficulty: int) -> Content:
    key = "".join(shuffled(rng, CIPHER)[: len(PLAIN)])
    text = letters(rng, difficulty + 1, PLAIN)
    secret = text.translate(str.maketrans(PLAIN, key))
    return Content(f"substitution:{key},{text}", secret, {"key": key, "text": text})


def worked_substitution(problem: Problem) -> str:
    """Letter by letter; in a document of the corpus, as wrong as its answer."""
    pairs = zip(problem.data["text"], problem.answer)
    return "\n".join([*(f"{plain}>{secret}" for plain, secret in pairs), problem.answer])


SUBSTITUTION = Family(
    "substitution",
    draw_substitution,
    symbolic="abcd>{key} {text}=",
    worded=(
        "With abcd written as {key}, encode {text}.",
        "Replace abcd by {key} in {text}.",
        "The code for abcd is {key}. What is {text}?",
        "Translate {text} if abcd become {key}.",
    ),
    widths=lambda d: {"key": 4, "text": d + 1, "answer": d + 1},
    difficulty_meaning="letters to encode minus one",
    answer_format=r"[a-z]+",
    worked=worked_substitution,
).tasks
