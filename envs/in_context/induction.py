"""A hidden chain of string functions, shown by examples only; where these allow several chains, one was meant."""

from functools import partial

from envs.contexts import Content, Family
from envs.draw import Rng, letters, pick
from envs.in_context import EXAMPLES
from envs.strings.composition import NAMES, results, worked


def depth(difficulty: int) -> int:
    """Functions in the chain."""
    return (difficulty + 2) // 3


def length(difficulty: int) -> int:
    """Letters of each string."""
    return 3 + (difficulty - 1) % 3


def draw(examples: int, rng: Rng, difficulty: int) -> Content:
    chain = "".join(pick(rng, NAMES) for _ in range(depth(difficulty)))
    query, *texts = (letters(rng, length(difficulty)) for _ in range(1 + max(EXAMPLES)))
    pairs = [(text, results(chain, text)[-1]) for text in texts[:examples]]
    slots = {
        "pairs": " ".join(f"{text}>{image}" for text, image in pairs),
        "becomes": ", ".join(f"{text} gives {image}" for text, image in pairs),
        "text": query,
        "chain": chain,
    }
    return Content(f"induction:{chain}({query})", results(chain, query)[-1], slots)


def _widths(examples: int, difficulty: int) -> dict[str, int]:
    size = length(difficulty)
    return {
        "pairs": examples * (2 * size + 2) - 1,
        "becomes": examples * (2 * size + 9) - 2,
        "text": size,
        "answer": size,
    }


TASKS = tuple(
    task
    for examples in EXAMPLES
    for task in Family(
        "induction",
        partial(draw, examples),
        symbolic="{pairs} {text}>",
        worded=("If {becomes}, what does {text} give?", "Rule: {becomes}. Now {text}?"),
        widths=partial(_widths, examples),
        difficulty_meaning="three letters, four, five; then the same with one more function in the chain",
        answer_format=r"[a-z]+",
        worked=worked,
        setting=f"examples={examples}",
    ).tasks
)
