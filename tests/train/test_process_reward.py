"""Rewards for single steps: what right lines of a scratchpad earn, and where."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from envs import Problem, get
from harness.policy.tokenizer import ANSWER, encode, encode_completion, encode_prompt
from harness.train import rewards as rewards_module
from harness.train.advantages import leave_one_out, reward_to_go
from harness.train.metrics import rollout_metrics
from harness.train.rewards import RESOLUTION, line_rewards, process_reward
from tests.run.test_job import rows
from tests.toys import algo, tiny, train
from tests.train.toy_rollouts import CORRECT, UNSCORABLE, WRONG, hand_made, zero_advantage

SUM = Problem("addition.symbolic", "27+15=", "42", 2, "addition:15,27", {"a": 27, "b": 15})
FIRST, SECOND = "7+5+0=12", "2+1+1=4"  # its steps, from the right


def written(completions, checks=None, problem=SUM, seeds=1):
    """Rows that hold these ids after the prompt, one group for each seed."""
    prompt = encode_prompt(problem.prompt)
    whole = [np.concatenate((prompt, completion)) for completion in completions]
    width, g = max(map(len, whole)), len(whole) // seeds
    inputs = hand_made(checks or [[CORRECT] * g] * seeds, tokens=width, seeds=seeds)
    length, place = torch.tensor([len(ids) for ids in whole]), torch.arange(width)
    rollouts = replace(
        inputs.rollouts,
        ids=torch.from_numpy(np.stack([np.pad(ids, (0, width - len(ids))) for ids in whole])),
        loss_mask=(place >= len(prompt)) & (place < length[:, None]),
        length=length,
        prompt_length=torch.full_like(length, len(prompt)),
    )
    return replace(inputs, rollouts=rollouts, line_rewards=line_rewards(rollouts, [problem] * seeds, 64))


def earned(*lines, answer="42", problem=SUM):
    """{place after the prompt: reward} of a scratchpad of these lines."""
    inputs = written([encode_completion(answer, "\n".join(lines))], problem=problem)
    steps = inputs.line_rewards[0, inputs.rollouts.prompt_length[0] :]
    return {place: steps[place].item() for place in steps.nonzero().flatten().tolist()}


def test_each_right_line_earns_its_share_on_its_last_token():
    assert earned(FIRST, SECOND) == {7: 0.5, 15: 0.5}
    assert earned(FIRST, SECOND, answer="7") == {7: 0.5, 15: 0.5}
    assert earned(FIRST) == {7: 0.5}
    assert earned("7+5+0=1", SECOND) == {14: 0.5}


@pytest.mark.parametrize(
    "lines",
    [
        (SECOND, FIRST),  # each in the other's place
        (FIRST + " ", "x" + SECOND),
        (FIRST[:-1], SECOND[:-1]),
        ("", FIRST, SECOND),
        (FIRST + SECOND,),
        (),
    ],
)
def test_a_line_that_is_not_the_solutions_in_that_place_earns_nothing(lines):
    assert earned(*lines) == {}


def test_a_right_line_is_paid_once():
    assert earned(FIRST, FIRST, FIRST) == {7: 0.5}
    assert earned(FIRST, SECOND, FIRST, SECOND) == {7: 0.5, 15: 0.5}


def test_what_stands_behind_ANSWER_or_without_it_is_no_scratchpad():
    steps = encode(f"{FIRST}\n{SECOND}")
    late = np.concatenate(([ANSWER], steps, [ANSWER], encode("42")))
    cut = np.concatenate((encode(f"{FIRST}\n2+1"), [ANSWER], encode("42")))
    inputs = written([steps, late, cut])
    assert inputs.line_rewards.sum(1).tolist() == [0.0, 0.0, 0.5]


def test_special_ids_in_a_line_do_not_move_what_comes_after():
    odd = np.concatenate((encode("ab"), [6, 0, 2], encode(f"\n{SECOND}"), [ANSWER], encode("42")))
    inputs = written([odd])
    n = inputs.rollouts.prompt_length[0]
    assert inputs.line_rewards[0].nonzero().flatten().tolist() == [n + 5 + 1 + len(SECOND) - 1]


def test_tasks_without_steps_earn_nothing_and_a_policy_that_does_not_think_has_none():
    task = get("store.symbolic")
    problem = task.draw(np.random.default_rng(0), 2)
    inputs = written([encode_completion(problem.answer, task.worked(problem))], problem=problem)
    assert (inputs.line_rewards == 0).all()
    assert line_rewards(inputs.rollouts, [problem], None) is None


@pytest.mark.parametrize("n", [3, 6, 7, 13])
def test_completions_that_earn_the_same_are_exactly_equal_wherever_their_lines_stand(n):
    """Else the rounding of a sum would be a signal: the last lines of n, behind first lines of all lengths."""
    problem = Problem("reversal.symbolic", "x", "x", n, "x", {"text": "abcdefghijklm"[:n]})
    right = get(problem.task).scratchpad(problem).split("\n")
    rows = [encode_completion("x", "\n".join(["x" * width, *right[1:]])) for width in range(1, 40)]
    inputs = written(rows, [[WRONG] * len(rows)], problem)
    rewards = process_reward(inputs)
    assert len(right) == n
    assert rewards.base.unique().tolist() == [(n - 1) * round(RESOLUTION / n) / RESOLUTION]
    assert zero_advantage("rloo", rewards, inputs.rollouts) == [[True]]


def test_the_process_reward_by_hand():
    """Right with all steps, wrong with one of two, right without any, unscorable: 2, .5, 1 and no number. Against the
    mean of the others the first gets 2 - .75, the second .5 - 1.5, the third 1 - 1.25."""
    texts = [encode_completion("42", f"{FIRST}\n{SECOND}"), encode_completion("41", FIRST), encode_completion("42", "")]
    inputs = written([*texts, texts[0]], [[CORRECT, WRONG, CORRECT, UNSCORABLE]])
    rewards, mask = process_reward(inputs), inputs.rollouts.loss_mask
    assert rewards.outcome.nan_to_num(-1).tolist() == [1.0, 0.0, 1.0, -1.0]
    assert rewards.base.nan_to_num(-1).tolist() == [2.0, 0.5, 1.0, -1.0]
    found = leave_one_out(rewards, None, inputs.rollouts, algo("rloo", scale="none"))
    for row, expected in enumerate((1.25, -1.0, -0.25, 0.0)):
        torch.testing.assert_close(found[row], expected * mask[row])


def test_what_a_step_earns_is_credited_to_it_and_to_what_came_before_alone():
    """Without a baseline: 2 up to the end of the first line, 1.5 up to that of the second, then the answer's 1."""
    inputs = written([encode_completion("42", f"{FIRST}\n{SECOND}")])
    found = reward_to_go(process_reward(inputs), None, inputs.rollouts, algo("reinforce"))
    drawn = found[0, inputs.rollouts.prompt_length[0] :]
    assert drawn.tolist() == [2.0] * len(FIRST) + [1.5] * (1 + len(SECOND)) + [1.0] * len("⟨42⟩")


def test_a_group_alike_in_its_answers_still_has_the_signal_of_its_steps():
    texts = [encode_completion("41", FIRST), encode_completion("41", "")]
    inputs = written(texts, [[WRONG, WRONG]])
    assert zero_advantage("rloo", process_reward(inputs), inputs.rollouts) == [[False]]


def test_scratchpad_lines_correct_is_a_metric_of_each_seed():
    texts = [encode_completion("42", text) for text in (f"{FIRST}\n{SECOND}", FIRST, "", FIRST)]
    inputs = written(texts, seeds=2)
    metrics = rollout_metrics(inputs, process_reward(inputs), torch.zeros(2, 1))
    assert metrics["scratchpad_lines_correct"].tolist() == [0.75, 0.25]


def test_rl_rewards_the_lines_and_logs_their_share(tmp_path, monkeypatch):
    """With a quarter for the first token of every completion."""

    def quarter(rollouts, problems, thinking):
        return torch.zeros(rollouts.ids.shape).scatter_(1, rollouts.prompt_length[:, None], 0.25)

    monkeypatch.setattr(rewards_module, "line_rewards", quarter)
    settings = ("base.scratchpad_share=0.5", "sampling.thinking=6", "rl.steps=2", "reward=process_reward")
    steps = [row for row in rows(train(tiny(*settings, out=tmp_path))) if "train/loss" in row]
    for row in steps:
        assert row["train/scratchpad_lines_correct"] == 0.25
        assert row["train/reward_mean"] == pytest.approx(row["train/accuracy"] + 0.25)
