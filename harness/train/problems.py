"""The problems of a step; drawn while the step before it is under way, where they do not hang on what that finds."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future

import numpy as np

from envs.base import Problem
from envs.mixture import Mixture
from harness.config.schema import Config
from harness.core.seeding import keys
from harness.train.curriculum import Retired, draw, odds
from harness.train.state import TrainState

Chances = Sequence[np.ndarray | None]  # [S]: the odds of each cell, None where they are the mixture's own
Draw = Callable[[Config, TrainState, Mixture], tuple[list[Problem], Chances]]


def problems_of(cfg: Config, state: TrainState, mixture: Mixture) -> tuple[list[Problem], Chances]:
    """This step's problems, S·P, seed-major, and the odds that they were drawn with."""
    chances = odds(mixture, state.success, cfg.tasks.target_success, len(state.seeds))
    return _drawn(cfg, mixture, state.seeds, state.step, chances, state.retired), chances


class Ahead:
    """`problems_of`, which begins with the next step's, in another thread, as soon as it is asked for one step's."""

    def __init__(self, pool: Executor):
        self._pool = pool
        self._next: tuple[int, Future[list[Problem]]] | None = None

    def __call__(self, cfg: Config, state: TrainState, mixture: Mixture) -> tuple[list[Problem], Chances]:
        if cfg.tasks.target_success is not None or cfg.tasks.retire_at is not None:
            return problems_of(cfg, state, mixture)
        step, begun = self._next or (None, None)
        chances, none_retired = [None] * len(state.seeds), [{} for _ in state.seeds]
        of_step = lambda step: _drawn(cfg, mixture, state.seeds, step, chances, none_retired)  # noqa: E731
        problems = begun.result() if begun is not None and step == state.step else of_step(state.step)
        self._next = state.step + 1, self._pool.submit(of_step, state.step + 1)
        return problems, chances


def _drawn(
    cfg: Config, mixture: Mixture, seeds: Sequence[int], step: int, chances: Chances, retired: Sequence[Retired]
) -> list[Problem]:
    draws = zip(chances, retired, keys("problems", seeds, step))
    drawn = (draw(mixture, chance, gone, cfg.rl.problems, key.generator()) for chance, gone, key in draws)
    return [problem for of_seed in drawn for problem in of_seed]
