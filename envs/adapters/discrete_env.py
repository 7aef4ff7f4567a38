"""Any Gymnasium environment with discrete actions and few observed numbers as a task of several turns.

    envs.register(discrete_env_task("FrozenLake-v1", turns=30, goal=1))       # -> FrozenLake-v1.tokens

The prompt is the first observation, each completion the number of an action, each reply the next observation. The
environment plays itself again from the problem's seed at each turn, so that a reply depends on nothing but the problem
and the completions; its randomness must come from the seed of its `reset`. A problem is a seed: where an environment
is the same from every seed (CliffWalking), all its problems are one, and its splits hold nothing apart.
"""

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from envs.base import Correctness, Problem, Reply, Task
from envs.draw import integer

MOST_NUMBERS = 16
NUMBER_WIDTH = 8


def discrete_env_task(env_id: str, turns: int, goal: float, **kwargs: Any) -> Task:
    """The task ENV_ID.tokens: CORRECT if the rewards of an episode of at most `turns` actions sum to at least `goal`.

    The sum is judged when the environment ends the episode, or when the turns are spent. `kwargs` go to
    `gymnasium.make`. Raises ValueError for action spaces that are not discrete and observations of over 16 numbers.
    """
    environment = gymnasium.make(env_id, max_episode_steps=turns, **kwargs)
    name = env_id.replace("/", "_")
    if not isinstance(environment.action_space, spaces.Discrete):
        raise ValueError(f"{env_id}: actions are {environment.action_space}, only discrete ones can be numbered")
    numbers = _count(environment.observation_space)
    if not 0 < numbers <= MOST_NUMBERS:
        raise ValueError(
            f"{env_id}: observations are {environment.observation_space}, more than {MOST_NUMBERS} numbers"
        )
    width = numbers * (NUMBER_WIDTH + 1)

    return Task(
        name=f"{name}.tokens",
        family=name,
        context="tokens",
        draw=partial(_draw, environment, env_id, name),
        difficulties=(1,),
        difficulty_meaning=f"one only: a return of at least {goal:g} in {turns} turns",
        max_prompt=len(name) + 10 + width,
        max_completion=4,
        answer_format=r"0|[1-9][0-9]*",
        max_turns=turns,
        max_reply=width,
        respond=partial(_respond, environment, goal),
    )


def _draw(environment: gymnasium.Env, env_id: str, name: str, rng: np.random.Generator, difficulty: int) -> Problem:
    seed = integer(rng, 0, 2**31)
    first, last = _actions(environment)
    prompt = f"{name} {first}-{last}: {_text(environment.reset(seed=seed)[0])}"
    return Problem(f"{name}.tokens", prompt, str(first), difficulty, f"{env_id}:{seed}", {"seed": seed})


def _respond(environment: gymnasium.Env, goal: float, problem: Problem, completions: Sequence[str]) -> Reply:
    environment.reset(seed=problem.data["seed"])
    first, last = _actions(environment)
    total, observation = 0.0, None
    for completion in completions:
        if not re.fullmatch(r"0|[1-9][0-9]{0,3}", completion) or not first <= int(completion) <= last:
            return Reply(correctness=Correctness.WRONG)
        observation, reward, terminated, truncated, _ = environment.step(int(completion))
        total += float(reward)
        if terminated or truncated:
            return Reply(correctness=Correctness.CORRECT if total >= goal else Correctness.WRONG)
    return Reply(_text(observation))


def _actions(environment: gymnasium.Env) -> tuple[int, int]:
    """The first and the last action."""
    actions = environment.action_space
    assert isinstance(actions, spaces.Discrete)  # discrete_env_task has refused all others
    return int(actions.start), int(actions.start + actions.n - 1)


def _count(space: spaces.Space) -> int:
    """Numbers in an observation; 0 for spaces that are not numbers."""
    if isinstance(space, spaces.Discrete):
        return 1
    if isinstance(space, spaces.Box):
        return int(np.prod(space.shape))
    if isinstance(space, spaces.Tuple):
        return sum(map(_count, space.spaces))
    return 0


def _text(observation: Any) -> str:
    """The numbers of an observation, three significant digits each."""
    parts = observation if isinstance(observation, tuple) else np.ravel(observation).tolist()
    return " ".join(str(int(part)) if float(part).is_integer() else f"{part:.3g}" for part in parts)
