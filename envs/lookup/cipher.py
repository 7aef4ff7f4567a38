"""Words in one of four codes of 26 letters that the pretraining corpus is often wrong about.

The share of true statements is log-uniform over the 104 facts (code, letter): the wider its range, the further apart
are the times at which RL learns them. `cipher_wide` has shares over 3.7 decades, `cipher_narrow` the same for every
fact, `cipher_right` a corpus without errors. The codes are the same in all families: a study takes one of them.
"""

from functools import partial
from string import ascii_lowercase

from envs.base import Problem, Task
from envs.contexts import Content, Family
from envs.draw import Rng, letters, pick
from envs.lookup.code import Code, codes, log_uniform
from envs.strings.letters import worked_substitution

CODES = "0123"
RANGES = {
    "cipher": (0.003, 0.9),
    "cipher_wide": (0.0002, 0.9),
    "cipher_narrow": (0.2, 0.2),
    "cipher_right": (1.0, 1.0),
}


def codes_by_symbol(low: float, high: float) -> dict[str, Code]:
    """The four codes by their symbols, the shares of their facts in the corpus log-uniform from low to high."""
    return codes(CODES, ascii_lowercase, log_uniform(low, high, (len(CODES), len(ascii_lowercase)), seed=17), seed=11)


def draw(facts: dict[str, Code], rng: Rng, difficulty: int) -> Content:
    code, text = pick(rng, CODES), letters(rng, difficulty)
    return Content(f"cipher:{code}{text}", facts[code].encode(text), {"code": code, "text": text})


def corpus_answer(facts: dict[str, Code], problem: Problem, rng: Rng) -> str:
    return facts[problem.data["code"]].encode_as_corpus(problem.data["text"], rng)


def cipher(name: str, low: float, high: float) -> tuple[Task, ...]:
    """The tasks of a family whose facts have shares log-uniform from low to high in the corpus."""
    facts = codes_by_symbol(low, high)
    return Family(
        name,
        partial(draw, facts),
        symbolic="{code}:{text}=",
        worded=("Encode {text} by {code}.", "What is {text} in code {code}?", "By code {code}, {text} becomes what?"),
        widths=lambda d: {"code": 1, "text": d, "answer": d},
        difficulty_meaning=f"letters; the corpus is right about a letter with a share from {low:g} to {high:g}",
        answer_format=r"[a-z]+",
        guess_rate=0.01,
        worked=worked_substitution,
        corpus_answer=partial(corpus_answer, facts),
        difficulties=range(1, 7),
    ).tasks


TASKS = tuple(task for name, (low, high) in RANGES.items() for task in cipher(name, low, high))
