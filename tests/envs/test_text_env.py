"""The single and the batched environment."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import envs
from envs.base import Correctness, Reply
from envs.registry import TASKS, get
from envs.splits import split_of
from envs.text_env import TextEnv, draw_problem
from envs.vector import UNDECIDED, TextVectorEnv

TASK = envs.get("addition.symbolic")


def hint_then_check(problem, completions):
    """Two turns: 'hint' earns the answer's first digit, anything else is judged."""
    if completions[-1] == "hint":
        return Reply(problem.answer[0])
    return Reply(correctness=TASK.verify(problem, completions[-1]))


TURNS = replace(TASK, respond=hint_then_check, max_turns=2, max_reply=1)


def unscorable(problem, completion):
    return Correctness.UNSCORABLE


def test_problem_option_sets_the_problem():
    problem = TASK.draw(np.random.default_rng(5), 4)
    prompt, info = TextEnv(TASK).reset(options={"problem": problem})
    assert prompt == problem.prompt
    assert info == {"difficulty": 4, "content": problem.content}


def test_difficulty_and_split_are_kept():
    environment = TextEnv(TASK, difficulty=3, split="test")
    for seed in range(20):
        environment.reset(seed=seed)
        assert split_of(environment.problem) == "test"
        assert environment.problem.difficulty == 3


@pytest.mark.parametrize(
    ("task", "wrong", "reward"),
    [(TASK, False, 1.0), (TASK, True, 0.0), (replace(TASK, verify=unscorable), True, np.nan)],
)
def test_reward_is_one_zero_or_nan(task, wrong, reward):
    environment = TextEnv(task)
    environment.reset(seed=0)
    _, got, terminated, truncated, info = environment.step("x" if wrong else environment.problem.answer)
    assert got == pytest.approx(reward, nan_ok=True)
    assert terminated
    assert not truncated
    assert info["well_formed"] is not wrong


def test_running_out_of_turns_truncates_and_is_wrong():
    environment = TextEnv(TURNS)
    environment.reset(seed=0)
    assert environment.step("hint")[1:4] == (0.0, False, False)
    *_, reward, terminated, truncated, info = environment.step("hint")
    assert (reward, terminated, truncated, info["correctness"]) == (0.0, False, True, Correctness.WRONG)


def test_step_before_reset_says_so():
    for environment, action in ((TextEnv(TASK), "1"), (TextVectorEnv(1, TASK), ["1"])):
        with pytest.raises(gymnasium.error.ResetNeeded):
            environment.step(action)


def test_vector_env_agrees_with_the_single_env():
    """Row by row, turn by turn, over several tasks, right and wrong answers."""
    rng = np.random.default_rng(0)
    tasks = [TURNS, *envs.TASKS.values()]
    problems = [task.draw(rng, task.difficulties[0]) for task in tasks for _ in range(3)]
    vector = TextVectorEnv(len(problems), TURNS)
    prompts, _ = vector.reset(options={"problems": problems})
    singles = [TextEnv(TURNS if p.task == TURNS.name else p.task) for p in problems]
    assert list(prompts) == [single.reset(options={"problem": p})[0] for single, p in zip(singles, problems)]
    done = np.zeros(len(problems), bool)
    for turn in range(2):
        actions = ["hint" if turn == 0 and i % 2 else p.answer * (i % 3 > 0) for i, p in enumerate(problems)]
        replies, rewards, terminated, truncated, infos = vector.step(actions)
        for i in np.flatnonzero(~done):
            reply, reward, single_terminated, single_truncated, info = singles[i].step(actions[i])
            assert (reply, single_terminated, single_truncated) == (replies[i], terminated[i], truncated[i])
            assert reward == pytest.approx(rewards[i], nan_ok=True)
            assert infos["correctness"][i] == (UNDECIDED if info["correctness"] is None else info["correctness"])
            assert infos["well_formed"][i] == info["well_formed"]
        done = terminated | truncated
    assert done.all()


def test_ended_row_ignores_its_action_and_is_paid_once():
    problems = [TASK.draw(np.random.default_rng(0), 2)] * 2
    vector = TextVectorEnv(2, TURNS)
    vector.reset(options={"problems": problems})
    _, rewards, terminated, _, infos = vector.step([problems[0].answer, "hint"])
    assert rewards.tolist() == [1, 0]
    assert terminated.tolist() == [True, False]
    assert infos["correctness"].tolist() == [Correctness.CORRECT, UNDECIDED]
    replies, rewards, terminated, _, infos = vector.step(["nonsense", problems[1].answer])
    assert replies == ("", "")
    assert rewards.tolist() == [0, 1]
    assert terminated.tolist() == [True, True]
    assert infos["correctness"].tolist() == [Correctness.CORRECT, Correctness.CORRECT]
    assert infos["correctness"].dtype == np.int8


def test_wrong_number_of_problems_is_refused():
    with pytest.raises(ValueError, match="0 problems for 2 environments"):
        TextVectorEnv(2, TASK).reset(options={"problems": []})


def test_make_vec_gives_the_batched_environment():
    vector = gymnasium.make_vec("rl_scaling/sorting.worded-v0", num_envs=3, difficulty=2)
    assert isinstance(vector.unwrapped, TextVectorEnv)
    prompts, _ = vector.reset(seed=0)
    assert prompts in vector.observation_space
    assert prompts == vector.reset(seed=0)[0]


@given(st.lists(st.tuples(st.sampled_from(["exact", "scored"]), st.sampled_from(["", "7", "77", "x"])), min_size=1))
def test_rows_with_one_right_answer_get_the_results_of_the_verifier(rows):
    """Alone, where they are compared at once, and among rows whose verifier must be called."""
    exact_task = next(task for task in TASKS.values() if task.has_one_answer)
    other = next(
        task for task in TASKS.values() if task.has_verifier and not task.has_one_answer and task.max_turns == 1
    )
    tasks = {"exact": exact_task, "scored": other}
    problems = [draw_problem(tasks[kind], None, "train", np.random.default_rng(i)) for i, (kind, _) in enumerate(rows)]
    actions = [p.answer if i % 2 else text for i, (p, (_, text)) in enumerate(zip(problems, rows))]
    for chosen in (range(len(rows)), [i for i, (kind, _) in enumerate(rows) if kind == "exact"]):
        some = [problems[i] for i in chosen]
        if some:
            vector = TextVectorEnv(len(some), exact_task)
            vector.reset(options={"problems": some})
            _, _, terminated, _, infos = vector.step([actions[i] for i in chosen])
            expected = [get(problems[i].task).verify(problems[i], actions[i]) for i in chosen]
            assert infos["correctness"].tolist() == [int(correctness) for correctness in expected]
            assert terminated.all()


def test_a_verifier_that_raises_within_a_step_leaves_every_row_as_it_was():
    """The step played again, by a verifier mended meanwhile, is the one that would have been played at once."""
    broken = True

    def second_of_two(problem, completions):
        if broken and completions[-1] == "boom":
            raise ZeroDivisionError
        return Reply(",".join(completions), Correctness.CORRECT if len(completions) == 2 else None)

    environment = TextVectorEnv(3, replace(TASK, respond=second_of_two, max_turns=2, max_reply=20))
    environment.reset(seed=0)
    with pytest.raises(ZeroDivisionError):
        environment.step(["a", "boom", "c"])
    broken = False
    replies, _, ended, *_ = environment.step(["a", "boom", "c"])
    assert replies == ("a", "boom", "c")
    assert not ended.any()
    replies, rewards, *_ = environment.step(["d", "e", "f"])
    assert replies == ("a,d", "boom,e", "c,f")
    assert rewards.tolist() == [1, 1, 1]
