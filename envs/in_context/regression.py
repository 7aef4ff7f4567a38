"""Linear regression without noise: pairs from y = a x + b, then one more x.

The examples are nested: with 8 the first 4 are those of the variant with 4, and rule and query are the same.
"""

from functools import partial

from envs.base import Problem
from envs.contexts import Content, Family
from envs.draw import Rng, integer
from envs.in_context import EXAMPLES

LARGEST_X = 20


def draw(examples: int, rng: Rng, difficulty: int) -> Content:
    a, b = integer(rng, 2, 3 + 3 * difficulty), integer(rng, 1, 10 * difficulty + 1)
    query, *xs = (1 + rng.permutation(LARGEST_X)[: 1 + max(EXAMPLES)]).tolist()
    pairs = [(x, a * x + b) for x in xs[:examples]]
    slots = {
        "pairs": " ".join(f"{x}>{y}" for x, y in pairs),
        "prices": ", ".join(f"{x} feet {y} dollars" for x, y in pairs),
        "tickets": ", ".join(f"{x} miles {y} cents" for x, y in pairs),
        "query": query,
        "rule": (a, b),
    }
    return Content(f"regression:{a},{b},{query}", str(a * query + b), slots)


def worked(problem: Problem) -> str:
    """Slope, intercept, then the value."""
    (a, b), query = problem.data["rule"], problem.data["query"]
    return f"a={a}\nb={b}\n{a}*{query}+{b}\n{problem.answer}"


def _widths(examples: int, difficulty: int) -> dict[str, int]:
    y = len(str((2 + 3 * difficulty) * LARGEST_X + 10 * difficulty))
    price = 2 + y + len(" feet  dollars")
    return {
        "pairs": examples * (2 + 1 + y + 1) - 1,
        "prices": examples * (price + 2) - 2,
        "tickets": examples * (price + 2) - 2,
        "query": 2,
        "answer": y,
    }


TASKS = tuple(
    task
    for examples in EXAMPLES
    for task in Family(
        "regression",
        partial(draw, examples),
        symbolic="{pairs} {query}>",
        worded=("Flats: {prices}, {query} feet?", "Fares: {tickets}, {query} miles?"),
        widths=partial(_widths, examples),
        difficulty_meaning="slope up to 2 + 3 d, intercept up to 10 d",
        answer_format=r"[1-9][0-9]*",
        guess_rate=0.005,
        worked=worked,
        setting=f"examples={examples}",
    ).tasks
)
