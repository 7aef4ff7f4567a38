"""Warnings when nothing can be learned, each with its reason and advice."""

import pytest

from harness.run import diagnostics
from tests.toys import tiny, train

FINE = {
    "compute/step": 9,
    "optim/lr": 2e-3,
    "train/accuracy": 0.27,
    "train/truncated": 0.1,
    "train/zero_advantage_groups": 0.5,
    "train/grad_norm": 0.3,
    "train/entropy": 0.5,
    "train/sampler_policy_kl": 1e-6,
}


def test_a_healthy_run_raises_no_alarm():
    assert diagnostics.during_rl([FINE] * 20, 32) == {}
    assert diagnostics.before_rl(0.3) == {}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train/truncated": 1.0}, "sampling.max_new_tokens"),
        ({"train/zero_advantage_groups": 1.0, "train/grad_norm": 0.0}, "No group carried signal"),
        ({"train/grad_norm": 0.0}, "gradient is exactly zero"),
        ({"train/entropy": 0.001}, "lost its entropy"),
        ({"train/sampler_policy_kl": 0.5}, "drift apart"),
    ],
)
def test_each_dead_end_is_named_with_advice_once_it_lasts(changes, said):
    dead = {**FINE, **changes}
    (message,) = diagnostics.during_rl([FINE] * 3 + [dead] * diagnostics.WINDOW, 32).values()
    assert said in message
    assert diagnostics.during_rl([dead] * (diagnostics.WINDOW - 1), 32) == {}
    assert diagnostics.during_rl([dead] * (diagnostics.WINDOW - 1) + [FINE], 32) == {}


def with_accuracy(*values):
    return [{**FINE, "train/accuracy": value} for value in values]


@pytest.mark.parametrize("before", [1, 3, 20])
def test_a_collapse_is_said_at_once_with_the_learning_rate_to_change(before):
    """From .27 to 0 in a step."""
    alarms = diagnostics.during_rl(with_accuracy(*[0.27] * before, 0.0), 32)
    assert list(alarms) == ["collapse"]
    assert "fell from 0.27 to 0.00 at step 9" in alarms["collapse"]
    assert "lower optim.lr (it is 0.002; try 0.0005)" in alarms["collapse"]


@pytest.mark.parametrize(
    ("accuracies", "problems"),
    [((0.27, 0.1), 32), ((0.27, 0.0), 4), ((0.02, 0.0), 32), ((0.0, 0.0), 32), ((0.0, 0.27), 32), ((0.27,), 32)],
    ids=["a third is left", "four are seldom right", "hardly any was right", "none ever", "a rise", "a first step"],
)
def test_what_chance_or_learning_does_is_no_collapse(accuracies, problems):
    assert diagnostics.during_rl(with_accuracy(*accuracies), problems) == {}


@pytest.mark.parametrize(
    ("accuracies", "collapsed"),
    [([0.6] * 5 + [0.0], False), ([0.6] * 5 + [0.0] * 4, True), ([0.6] + [0.0] * 4, True), ([0.0] * 4, False)],
    ids=["one step of few problems", "four of them", "from the first step on", "no step before"],
)
def test_steps_of_few_problems_are_judged_several_together(accuracies, collapsed):
    rows = [{**row, "compute/step": i} for i, row in enumerate(with_accuracy(*accuracies), start=1)]
    alarms = diagnostics.during_rl(rows, problems=8)
    assert list(alarms) == ["collapse"] * collapsed
    assert not collapsed or f"from 0.60 to 0.00 at step {len(rows) - 3}" in alarms["collapse"]


@pytest.mark.parametrize("zero_advantage", [0.9, 1.0])
def test_lost_entropy_and_the_groups_without_signal_that_come_of_it_are_one_alarm(zero_advantage):
    lost = {**FINE, "train/entropy": 0.001, "train/zero_advantage_groups": zero_advantage}
    alarms = diagnostics.during_rl([lost] * 9, 32)
    assert list(alarms) == ["no signal"]
    assert "lost its entropy" in alarms["no signal"]


def test_lost_entropy_is_no_alarm_where_all_is_solved():
    solved = {**FINE, "train/accuracy": 1.0, "train/entropy": 0.0}
    assert diagnostics.during_rl([solved] * 9, 32) == {}
    (message,) = diagnostics.during_rl([{**solved, "train/zero_advantage_groups": 1.0}] * 9, 32).values()
    assert "all its completions were right, so nothing is learned. Add harder difficulties" in message


def test_a_base_that_solves_nothing_or_everything_is_said_before_rl():
    assert "all wrong" in diagnostics.before_rl(0.0)["unsolved"]
    assert "nothing is left to gain" in diagnostics.before_rl(0.99)["solved"]


def test_a_run_that_cannot_learn_says_why_while_it_runs(tmp_path):
    """One token is never a whole answer with its stop token."""
    heard = []
    settings = ("sampling.max_new_tokens=1", "rl.steps=9", "tasks.verified=[maximum.symbolic]")
    train(tiny(*settings, out=tmp_path), heard.append)
    messages = [row["alarm"] for row in heard if "alarm" in row]
    assert any("all wrong" in message for message in messages)
    assert len(messages) == len(set(messages))
