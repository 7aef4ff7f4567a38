"""Other people's environments as tasks, and tasks as environments for other people's libraries."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from envs.adapters.discrete_env import discrete_env_task
from envs.base import Correctness
from envs.text_env import CHARSET, TextEnv
from envs.token_env import PAD, STOP, TokenEnv

ENVIRONMENTS = {
    "FrozenLake-v1": {"turns": 20, "goal": 1},
    "Taxi-v4": {"turns": 30, "goal": -10},
    "CliffWalking-v1": {"turns": 30, "goal": -20},
    "Blackjack-v1": {"turns": 10, "goal": 1},
    "CartPole-v1": {"turns": 30, "goal": 30},
}


@pytest.fixture(params=ENVIRONMENTS.items(), ids=lambda item: item[0])
def task(request):
    name, settings = request.param
    return discrete_env_task(name, **settings)


def test_adapted_environment_is_a_valid_task(task):
    check_env(TextEnv(task), skip_render_check=True)
    problem = task.draw(np.random.default_rng(0), 1)
    assert len(problem.prompt) <= task.max_prompt
    assert set(problem.prompt) <= set(CHARSET)
    for answer in ("", "x", "-1", "99", "1 ", "\u0661", "1" * 100_000):
        assert task.reply(problem, [answer]).correctness == Correctness.WRONG


def test_episode_ends_in_a_result_within_its_turns_and_replays_exactly(task):
    problem = task.draw(np.random.default_rng(1), 1)
    rng, completions, replies = np.random.default_rng(2), [], []
    while not replies or replies[-1].correctness is None:
        completions.append("01"[int(rng.random() * 2)])
        replies.append(task.reply(problem, completions))
        assert len(replies[-1].text) <= task.max_reply
    assert len(completions) <= task.max_turns
    assert [task.reply(problem, completions[: i + 1]) for i in range(len(completions))] == replies


def test_known_solutions_are_correct():
    """The cliff is passed by up, eleven to the right and down; a still lake is crossed by right, right, down."""
    cliff = discrete_env_task("CliffWalking-v1", turns=30, goal=-13)
    path = ["0", *["1"] * 11, "2"]
    problem = cliff.draw(np.random.default_rng(0), 1)
    assert cliff.reply(problem, path).correctness == Correctness.CORRECT
    assert cliff.reply(problem, path[:-1]).correctness is None
    lake = discrete_env_task("FrozenLake-v1", turns=9, goal=1, is_slippery=False, desc=["SF", "HG"])
    assert lake.reply(lake.draw(np.random.default_rng(0), 1), ["2", "1"]).correctness == Correctness.CORRECT
    assert lake.reply(lake.draw(np.random.default_rng(0), 1), ["1"]).correctness == Correctness.WRONG


def test_continuous_actions_are_refused_by_name():
    with pytest.raises(ValueError, match="Pendulum-v1: actions are Box"):
        discrete_env_task("Pendulum-v1", turns=5, goal=0)


def tokens(text: str) -> list[int]:
    return [CHARSET.index(character) for character in text]


@pytest.mark.parametrize("name", ["addition.symbolic", "store.worded"])
def test_token_env_passes_the_checker(name):
    check_env(gymnasium.make(f"rl_scaling/{name}-tokens-v0").unwrapped, skip_render_check=True)


def test_token_env_agrees_with_the_text_env():
    """The gold answer, with a stop or at full length, is paid 1; a tool's reply enters the observation."""
    environment = TokenEnv("store.symbolic", difficulty=2)
    environment.reset(seed=0)
    problem = environment._text_env.problem
    turns = environment.task.worked(problem).split("\n")
    total, replies = 0.0, ""
    for turn in turns:
        for action in [*tokens(turn), *[STOP] * (len(turn) < environment.task.max_completion)]:
            observation, reward, terminated, truncated, _ = environment.step(action)
            total += reward
    shown = [code for code in observation if code != PAD]
    assert (total, terminated, truncated) == (1.0, True, False)
    replies = "".join(CHARSET[code] for code in shown if code != STOP)
    told = [*map(problem.data["table"].get, problem.data["calls"]), ""]
    assert replies == problem.prompt + "".join(turn + reply for turn, reply in zip(turns, told))


def test_token_window_keeps_the_latest_tokens():
    environment = TokenEnv("addition.symbolic", window=4)
    observation, _ = environment.reset(seed=0)
    prompt = environment._text_env.problem.prompt
    assert observation.tolist() == ([PAD] * 4 + tokens(prompt))[-4:]


@pytest.fixture
def reasoning_gym_task():
    pytest.importorskip("reasoning_gym", reason="extra `tasks`")
    from envs.adapters.reasoning_gym import reasoning_gym_task

    return reasoning_gym_task


def test_reasoning_gym_data_set_is_a_valid_task(reasoning_gym_task):
    task = reasoning_gym_task("spell_backward")
    check_env(TextEnv(task), skip_render_check=True)
    problem = task.draw(np.random.default_rng(0), 1)
    assert task.verify(problem, problem.answer) == Correctness.CORRECT
    assert {task.verify(problem, answer) for answer in ("", problem.answer[:-1], "7" * 100_000)} == {Correctness.WRONG}


def test_neighbouring_seeds_of_an_adapted_data_set_do_not_share_entries(reasoning_gym_task):
    task = reasoning_gym_task("basic_arithmetic")
    draws = [{task.draw(np.random.default_rng(seed), 3).content for _ in range(1)} for seed in range(50)]
    assert len(set.union(*draws)) > 40


def test_unfit_data_sets_are_refused_by_name(reasoning_gym_task):
    from envs.adapters.reasoning_gym import Refused

    with pytest.raises(Refused, match="no data set 'sums'"):
        reasoning_gym_task("sums")
    with pytest.raises(Refused, match="rubiks_cube does not accept its own answer"):
        reasoning_gym_task("rubiks_cube", max_prompt=100_000, max_completion=1000)
    with pytest.raises(Refused, match="gsm_symbolic cannot make any entry"):
        reasoning_gym_task("gsm_symbolic", max_prompt=2000)
    with pytest.raises(Refused, match="composite allows none"):
        reasoning_gym_task("composite")
    with pytest.raises(Refused, match="100 draws gave no ASCII question"):
        reasoning_gym_task("spell_backward", max_prompt=10)


@pytest.mark.slow
def test_stable_baselines_learns_a_task_token_by_token():
    """PPO on one-digit comparison: from about one answer in 300 right to at least one in four."""
    stable_baselines3 = pytest.importorskip("stable_baselines3", reason="extra `bench`")
    from stable_baselines3.common.env_checker import check_env as check_for_stable_baselines
    from stable_baselines3.common.evaluation import evaluate_policy

    environment = TokenEnv("comparison.symbolic", difficulty=1)
    check_for_stable_baselines(environment)
    model = stable_baselines3.PPO("MlpPolicy", environment, n_steps=512, learning_rate=1e-3, seed=0, device="cpu")
    before, _ = evaluate_policy(model, environment, 100, deterministic=False, warn=False)
    model.learn(10_000)
    after, _ = evaluate_policy(model, environment, 100, deterministic=False, warn=False)
    assert before < 0.1
    assert after > 0.25
