"""What holds for every task of this project."""

from collections import Counter

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import TransformReward
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.base import Correctness, Task
from envs.registry import FAMILIES
from envs.splits import distinct_problems, split_of
from envs.text_env import CHARSET, play

# Of this project alone: the registry may also hold what other tests registered, in any order.
OWN = [task for tasks in FAMILIES.values() for task in tasks]
VERIFIED = [task for task in OWN if task.has_verifier]
every_task = pytest.mark.parametrize("task", OWN, ids=lambda task: task.name)

every_verified_task = pytest.mark.parametrize("task", VERIFIED, ids=lambda task: task.name)


def sample(task: Task, difficulty: int, n: int, seed: int = 0):
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(difficulty,)))
    return [task.draw(rng, difficulty) for _ in range(n)]


def solve(task: Task, problem, *completions: str):
    """The correctness on an episode of these completions, the last repeated until the end."""
    episode: list[str] = []
    while True:
        episode.append(completions[min(len(episode), len(completions) - 1)])
        reply, _ = play(task, problem, episode)
        assert len(reply.text) <= task.max_reply
        if reply.correctness is not None:
            return reply.correctness


def adversarial(problem) -> dict[str, str]:
    gold = problem.answer
    unicode_digits = {ord("0") + i: chr(0x0660 + i) for i in range(10)}
    return {
        "empty": "",
        "all digits": "0123456789",
        "all letters": "abcdefghijklmnopqrstuvwxyz",
        "the prompt": problem.prompt,
        "prompt and answer": problem.prompt + gold,
        "two answers": f"{gold} {gold}",
        "two lines": f"{gold}\n{gold}",
        "leading zero": "0" + gold,
        "leading space": " " + gold,
        "cut short": gold[:-1],
        "unicode digits": gold.translate(unicode_digits) + "\u0660",
        "look-alike letters": gold.replace("a", "\u0430") + "\u200b",
        "in words": f"The answer is {gold}.",
        "in a box": "\\boxed{" + gold + "}",
        "very long": "7" * 100_000,
        "very long with answer": gold + "x" * 100_000,
        "null byte": gold + "\0",
        "nothing": "None",
        "not a number": "nan",
    }


@every_verified_task
def test_gold_answer_is_correct_and_well_formed(task):
    for difficulty in task.difficulties:
        for problem in sample(task, difficulty, 20):
            assert solve(task, problem, problem.answer) == Correctness.CORRECT
            assert task.well_formed(problem.answer)


@every_verified_task
def test_adversarial_answers_are_wrong(task):
    for difficulty in (task.difficulties[0], task.difficulties[-1]):
        for problem in sample(task, difficulty, 10):
            for kind, answer in adversarial(problem).items():
                assert solve(task, problem, answer) == Correctness.WRONG, (kind, problem.prompt)


@every_task
def test_same_seed_draws_the_same_problem(task):
    assert sample(task, task.difficulties[-1], 5, seed=1) == sample(task, task.difficulties[-1], 5, seed=1)


@every_task
def test_neighbouring_seeds_share_no_more_than_chance(task):
    """Two seeds of 200 draws overlap no more than the two halves of one stream of 400 do."""
    hardest = task.difficulties[-1]
    first, second = ({p.content for p in sample(task, hardest, 200, seed)} for seed in (42, 43))
    stream = [p.content for p in sample(task, hardest, 400, seed=44)]
    by_chance = len(set(stream[:200]) & set(stream[200:]))
    assert len(first & second) <= by_chance + 4 * np.sqrt(by_chance + 1)


@every_task
def test_prompts_and_answers_fit_their_stated_length_and_encode(task):
    for difficulty in task.difficulties:
        for problem in sample(task, difficulty, 50):
            prompt, answer = task.max_lengths([difficulty])
            assert 0 < len(problem.prompt) <= prompt <= task.max_prompt
            assert 0 < len(problem.answer) <= answer <= task.max_completion
            assert set(problem.prompt + problem.answer) <= set(CHARSET)
            assert problem.difficulty == difficulty
            assert problem.task == task.name


@pytest.mark.parametrize("task", {task.family: task for task in OWN}.values(), ids=lambda task: task.name)
def test_guess_rate_is_that_of_the_commonest_answer(task):
    """One context of each family: contexts share contents, and so answers."""
    shares = []
    for difficulty in task.difficulties:
        answers = Counter(p.answer for p in sample(task, difficulty, 2000))
        shares.append(max(answers.values()) / 2000)
    assert np.mean(shares) == pytest.approx(task.guess_rate, abs=0.015)


@every_verified_task
def test_worked_solution_ends_in_the_answer(task):
    for difficulty in task.difficulties:
        for problem in sample(task, difficulty, 20):
            worked = task.worked(problem)
            assert worked.endswith("\n" + problem.answer) or worked == problem.answer
            assert set(worked) <= set(CHARSET)
            if task.max_turns > 1:
                lines = worked.split("\n")
                assert len(lines) <= task.max_turns
                assert max(map(len, lines)) <= task.max_lengths([difficulty])[1]
                assert solve(task, problem, *lines) == Correctness.CORRECT


@pytest.mark.filterwarnings("ignore:.*different from the unwrapped version:UserWarning")
@every_task
def test_gymnasium_checker_passes(task):
    environment = gymnasium.make(f"rl_scaling/{task.name}-v0").unwrapped
    if not task.has_verifier:
        # Its reward is nan, which the checker would take for randomness, since nan is not equal to itself.
        environment = TransformReward(environment, np.nan_to_num)
    check_env(environment, skip_render_check=True)


def test_splits_are_disjoint_across_tasks_and_contexts():
    """No content stands in two splits, whichever task draws it."""
    where: dict[str, set[str]] = {}
    for task in OWN:
        for split in ("train", "validation", "test"):
            for problem in distinct_problems(task, task.difficulties[0], split, 8, seed=0):
                assert split_of(problem) == split
                where.setdefault(problem.content, set()).add(split)
    assert all(len(splits) == 1 for splits in where.values())


@every_task
@settings(max_examples=30, deadline=None)
@given(text=st.one_of(st.text(), st.text(alphabet=CHARSET, max_size=40), st.integers().map(str)))
def test_any_text_gets_a_result_or_a_reply(task, text):
    problem = sample(task, task.difficulties[0], 1)[0]
    for completion in (text, text * (100_000 // max(1, len(text)))):
        reply = task.reply(problem, [completion])
        assert reply.correctness is not None or reply.text
        assert isinstance(task.well_formed(completion), bool)
