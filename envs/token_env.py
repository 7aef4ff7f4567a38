"""A task token by token, for RL libraries that know nothing of text: an action is a character, or the stop.

Registered as rl_scaling/NAME-tokens-v0.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.base import Task
from envs.text_env import CHARSET, TextEnv

STOP = len(CHARSET)
PAD = STOP + 1
CODES = {character: code for code, character in enumerate(CHARSET)}


class TokenEnv(gymnasium.Env[np.ndarray, np.int64]):
    """One character of CHARSET or STOP (its length) a step.

    STOP, or the last character that a completion may have, hands the completion to the task. Observation: the codes of
    all text so far, the last `window` of them, int64 [window], padded with PAD on the left. Reward as in TextEnv, with
    0 for unscorable, since few libraries can do without a number.
    """

    metadata = {"render_modes": []}  # noqa: RUF012  (gymnasium's own declaration)

    def __init__(
        self, task: Task | str, difficulty: int | None = None, split: str = "train", window: int | None = None
    ):
        self._text_env = TextEnv(task, difficulty, split)
        self.task = self._text_env.task
        turn = self.task.max_completion + 1 + self.task.max_reply
        self.window = window or self.task.max_prompt + self.task.max_turns * turn
        self.observation_space = spaces.Box(0, PAD, (self.window,), np.int64)
        self.action_space = spaces.Discrete(STOP + 1)
        self._codes: list[int] = []
        self._completion = ""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """As in TextEnv; `options={"problem": problem}` sets the problem."""
        super().reset(seed=seed)
        prompt, info = self._text_env.reset(seed=seed, options=options)
        self._codes, self._completion = [CODES[character] for character in prompt], ""
        return self._observation(), info

    def step(self, action: np.int64):
        """One token; the task replies when the completion ends."""
        self._codes.append(int(action))
        if action != STOP:
            self._completion += CHARSET[action]
            if len(self._completion) < self.task.max_completion:
                return self._observation(), 0.0, False, False, {}
        reply, reward, terminated, truncated, info = self._text_env.step(self._completion)
        self._codes += [CODES[character] for character in reply]
        self._completion = ""
        return self._observation(), float(np.nan_to_num(reward)), terminated, truncated, info

    def _observation(self) -> np.ndarray:
        recent = self._codes[-self.window :]
        return np.array([PAD] * (self.window - len(recent)) + recent, np.int64)
