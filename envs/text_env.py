"""A task as a Gymnasium environment: the observation is the prompt, the action a completion, one step is one turn."""

from typing import Any

import gymnasium
from gymnasium import spaces

from envs.base import Correctness, Problem, Reply, Task
from envs.draw import Rng, pick
from envs.registry import get
from envs.splits import draw_in_split

CHARSET = "".join(map(chr, range(32, 127))) + "\n"
REWARDS = {Correctness.WRONG: 0.0, Correctness.CORRECT: 1.0, Correctness.UNSCORABLE: float("nan")}


def text_spaces(task: Task) -> tuple[spaces.Text, spaces.Text]:
    """The spaces of prompts and replies, and of completions."""
    observed = max(task.max_prompt, task.max_reply)
    return (
        spaces.Text(observed, min_length=0, charset=CHARSET),
        spaces.Text(task.max_completion, min_length=0, charset=CHARSET),
    )


def draw_problem(task: Task, difficulty: int | None, split: str, rng: Rng) -> Problem:
    """A problem of the split; `difficulty` None draws it uniformly."""
    return draw_in_split(task, pick(rng, task.difficulties) if difficulty is None else difficulty, split, rng)


def play(task: Task, problem: Problem, completions: list[str]) -> tuple[Reply, bool]:
    """The environment's reply, and whether the episode was cut off: out of turns without a result is wrong."""
    reply = task.reply(problem, completions)
    if reply.correctness is None and len(completions) >= task.max_turns:
        return Reply(reply.text, Correctness.WRONG), True
    return reply, False


class TextEnv(gymnasium.Env[str, str]):
    """One task. Reward: 1 correct, 0 wrong or not yet decided, nan unscorable."""

    metadata = {"render_modes": []}  # noqa: RUF012  (gymnasium's own declaration)

    def __init__(self, task: Task | str, difficulty: int | None = None, split: str = "train"):
        self.task = get(task) if isinstance(task, str) else task
        self.difficulty, self.split = difficulty, split
        self.observation_space, self.action_space = text_spaces(self.task)
        self.problem: Problem | None = None
        self._completions: list[str] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """A new episode; `options={"problem": problem}` sets the problem. Returns (prompt, info)."""
        super().reset(seed=seed)
        given = (options or {}).get("problem")
        self.problem = given or draw_problem(self.task, self.difficulty, self.split, self.np_random)
        self._completions = []
        return self.problem.prompt, {"difficulty": self.problem.difficulty, "content": self.problem.content}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """One turn. Returns (reply, reward, terminated, truncated, info with correctness (or None) and well_formed).

        Raises gymnasium.error.ResetNeeded before the first reset.
        """
        if self.problem is None:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        self._completions.append(action)
        reply, cut_off = play(self.task, self.problem, self._completions)
        reward = 0.0 if reply.correctness is None else REWARDS[reply.correctness]
        info = {"correctness": reply.correctness, "well_formed": self.task.well_formed(action)}
        return reply.text, reward, reply.correctness is not None and not cut_off, cut_off, info
