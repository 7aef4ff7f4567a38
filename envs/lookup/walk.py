"""Where a chain of moves ends that starts in a given state; each move is a fixed permutation of 16 states.

Five maps ask for the same walks in words of their own: each has its prefix, all share the tables, and so the contents
and splits. A corpus may show the steps of one map often, of another rarely or never; what RL teaches on one map can
then be looked for on the others. `walk_unknown` has tables of its own: a policy that never saw them can work out steps
and still only guess, so that it must not rise with the others.
"""

from collections.abc import Mapping
from functools import partial

from envs.base import Task
from envs.contexts import Content, DrawContent, Family
from envs.draw import Rng, pick
from envs.lookup.tables import Table, marked, path, permutations, worked

STATES = "abcdefghijklmnop"
MOVES = "+-*/"
MAPS = "01234"
TABLES = permutations(MOVES, STATES, seed=7)
UNKNOWN = permutations(MOVES, STATES, seed=8)


def draw(rng: Rng, difficulty: int, tables: Mapping[str, Table] = TABLES, key: str = "walk") -> Content:
    """Content of the same key is the same problem, in the same split."""
    start, moves = pick(rng, STATES), [pick(rng, MOVES) for _ in range(difficulty)]
    states, way = path(tables, start, moves), marked(moves)
    return Content(f"{key}:{start}{way}", states[-1], {"start": start, "way": way, "states": states})


def walk(name: str, prefix: str, draw: DrawContent) -> tuple[Task, ...]:
    """The tasks of a map, whose prompts begin with its prefix."""
    return Family(
        name,
        draw,
        symbolic=prefix + "{start}{way}=",
        worded=(
            f"By map {prefix} from {{start}} go {{way}}. Where?",
            f"Map {prefix}: start at {{start}}, then {{way}}: end?",
        ),
        widths=lambda d: {"start": 1, "way": 2 * d, "answer": 1},
        difficulty_meaning="moves",
        answer_format=r"[a-p]",
        guess_rate=1 / 16,
        worked=worked,
        difficulties=range(1, 13),
    ).tasks


TASKS = (
    *(task for prefix in MAPS for task in walk(f"walk_map{prefix}", prefix, draw)),
    *walk("walk_unknown", "9", partial(draw, tables=UNKNOWN, key="walk_unknown")),
)
