"""Eight letters on a ring, whose order only the examples in the prompt show: which is so many places after another?

An example is a letter and the next one, so that the answer can be worked out one look-up at a time; with all eight
nothing is left to guess. The examples are nested: with 8 the first 4 are those of the variant with 4, and ring and
query are the same. `ring_shuffled` shows the examples of another ring, which are of no use: right answers there do not
come from reading them.
"""

from functools import partial

from envs.base import Task
from envs.contexts import Content, Family
from envs.draw import Rng, shuffled
from envs.in_context import EXAMPLES
from envs.lookup.tables import MARKS, worked

LETTERS = "abcdefgh"


def draw(is_shuffled: bool, examples: int, rng: Rng, difficulty: int) -> Content:
    ring, order, other = (shuffled(rng, LETTERS) for _ in range(3))
    shown = other if is_shuffled else ring
    after = dict(zip(shown, shown[1:] + shown[:1]))
    slots = {
        "pairs": " ".join(letter + after[letter] for letter in order[:examples]),
        "start": ring[0],
        "places": MARKS[:difficulty],
        "states": ring[1 : difficulty + 1],
    }
    return Content(f"ring:{''.join(ring)}{difficulty}", ring[difficulty], slots)


def _tasks(name: str, examples: int) -> tuple[Task, ...]:
    return Family(
        name,
        partial(draw, name == "ring_shuffled", examples),
        symbolic="{pairs} {start}{places}=",
        worded=(
            "A ring has {pairs}: from {start} go {places}. Where?",
            "With {pairs}, start at {start}, {places}: end?",
        ),
        widths=lambda d: {"pairs": 3 * examples - 1, "start": 1, "places": d, "answer": 1},
        difficulty_meaning="places from the letter to the answer",
        answer_format=r"[a-h]",
        guess_rate=1 / (len(LETTERS) - 1),
        worked=worked,
        difficulties=range(1, len(LETTERS)),
        setting=f"examples={examples}",
    ).tasks


TASKS = tuple(task for name in ("ring", "ring_shuffled") for examples in EXAMPLES for task in _tasks(name, examples))
