"""Many episodes at once, of one task or of several: what the trainer drives."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from envs.base import Correctness, Problem, Task
from envs.registry import get
from envs.text_env import REWARDS, draw_problem, play, text_spaces

UNDECIDED = -1
# UNDECIDED is the last.
REWARD_BY_CORRECTNESS = np.array([*(REWARDS[correctness] for correctness in sorted(REWARDS)), 0.0])


class TextVectorEnv(VectorEnv):
    """N independent episodes in lockstep; a row that has ended stays as it is and ignores its actions.

    Without autoreset: each `reset` starts N new episodes. `task`, `difficulty` and `split` say what is drawn when
    `reset` is given no problems; given problems may be of any registered tasks.
    """

    metadata = {"autoreset_mode": AutoresetMode.DISABLED}  # noqa: RUF012  (gymnasium's own declaration)

    def __init__(self, num_envs: int, task: Task | str, difficulty: int | None = None, split: str = "train"):
        self.num_envs = num_envs
        self.task = get(task) if isinstance(task, str) else task
        self.difficulty, self.split = difficulty, split
        self.single_observation_space, self.single_action_space = text_spaces(self.task)
        self._episodes: list[tuple[Task, Problem, list[str]]] = []  # with the completions so far

    # Built when asked for: gymnasium copies the space once a row, which costs more than all the episodes of a batch.
    @cached_property
    def observation_space(self) -> gymnasium.Space:
        return batch_space(self.single_observation_space, self.num_envs)

    @cached_property
    def action_space(self) -> gymnasium.Space:
        return batch_space(self.single_action_space, self.num_envs)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[tuple[str, ...], dict[str, Any]]:
        """N new episodes; `options={"problems": N problems}` sets them, `"check_format": False` skips the
        format check. Returns (prompts, infos).

        Raises ValueError if the number of problems is not N, UnknownTask for a problem of an unknown task.
        """
        super().reset(seed=seed)
        options = options or {}
        problems, self._check_format = options.get("problems"), options.get("check_format", True)
        if problems is None:
            draws = range(self.num_envs)
            problems = [draw_problem(self.task, self.difficulty, self.split, self.np_random) for _ in draws]
        if len(problems) != self.num_envs:
            raise ValueError(f"{len(problems)} problems for {self.num_envs} environments: give one for each")
        self._episodes = [(self.task if p.task == self.task.name else get(p.task), p, []) for p in problems]
        self._exact = all(task.has_one_answer for task in {task.name: task for task, *_ in self._episodes}.values())
        self._correctness = np.full(self.num_envs, UNDECIDED, np.int8)
        self._well_formed = np.zeros(self.num_envs, bool)
        self._truncated = np.zeros(self.num_envs, bool)
        return tuple(p.prompt for p in problems), {}

    def step(
        self, actions: Sequence[str]
    ) -> tuple[tuple[str, ...], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One turn of every row that has not ended.

        Returns (replies, rewards float64 [N], terminations bool [N], truncations bool [N], infos). A reward is paid
        once, at the step that ends the episode. infos["correctness"] int8 [N] is the Correctness, -1 while undecided;
        infos["well_formed"] bool [N] is of the last completion, False where the check is skipped. Raises ResetNeeded
        before the first reset; what a verifier raises goes through, and leaves all rows as they were.
        """
        if not self._episodes:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        replies = [""] * self.num_envs
        rewards = np.zeros(self.num_envs)
        rows = np.flatnonzero(self._correctness == UNDECIDED)
        if rows.size:
            played = rows.tolist()
            before = ((row, *self._episodes[row]) for row in played)
            episodes = [(task, problem, [*completions, actions[row]]) for row, task, problem, completions in before]
            if self._exact:  # an episode of one turn: the same results as play(), without a call a row
                checks = np.array([actions[row] == problem.answer for row, (_, problem, _) in zip(played, episodes)])
                checks, cut_off = np.where(checks, Correctness.CORRECT, Correctness.WRONG).astype(np.int8), False
            else:
                found, cut_off = zip(*[play(*episode) for episode in episodes])
                for row, reply in zip(played, found):
                    replies[row] = reply.text
                results = (UNDECIDED if one.correctness is None else one.correctness for one in found)
                checks = np.fromiter(results, np.int8, len(played))
            form = self._check_format and [task.well_formed(completions[-1]) for task, _, completions in episodes]
            # Only now that no task's own code can raise any more: a step is played by all rows or by none.
            for row, episode in zip(played, episodes):
                self._episodes[row] = episode
            self._correctness[rows], self._truncated[rows] = checks, cut_off
            rewards[rows] = REWARD_BY_CORRECTNESS[checks]
            self._well_formed[rows] = form
        ended = self._correctness != UNDECIDED
        infos = {"correctness": self._correctness.copy(), "well_formed": self._well_formed.copy()}
        return tuple(replies), rewards, ended & ~self._truncated, self._truncated.copy(), infos
