"""Where a chain of moves ends that starts in a given state; each move is a fixed permutation of 16 states.

Five maps ask for the same walks in words of their own: each has its prefix, all share the tables, and so the contents
and splits. A corpus may show the steps of one map often, of another rarely or never; what RL teaches on one map can
then be looked for on the others.
"""

import numpy as np

from envs.base import Problem, Task
from envs.contexts import Content, family
from envs.draw import pick
from envs.lookup.tables import marked, path, permutations

STATES = "abcdefghijklmnop"
MOVES = "+-*/"
MAPS = "01234"
TABLES = permutations(MOVES, STATES, seed=7)


def draw(rng: np.random.Generator, difficulty: int) -> Content:
    start, moves = pick(rng, STATES), [pick(rng, MOVES) for _ in range(difficulty)]
    states, way = path(TABLES, start, moves), marked(moves)
    return Content(f"walk:{start}{way}", states[-1], {"start": start, "way": way, "states": states})


def worked(problem: Problem) -> str:
    """The state after each move, behind the mark of the move."""
    return f"{marked(problem.data['states'])}\n{problem.answer}"


def _map(name: str) -> tuple[Task, ...]:
    return family(
        f"walk_map{name}",
        draw,
        symbolic=name + "{start}{way}=",
        worded=(
            f"By map {name} from {{start}} go {{way}}. Where?",
            f"Map {name}: start at {{start}}, then {{way}}: end?",
        ),
        widths=lambda d: {"start": 1, "way": 2 * d, "answer": 1},
        difficulty_meaning="moves",
        answer_format=r"[a-p]",
        guess_rate=1 / 16,
        worked=worked,
        difficulties=range(1, 13),
    )


TASKS = tuple(task for name in MAPS for task in _map(name))
