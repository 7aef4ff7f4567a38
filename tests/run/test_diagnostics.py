"""Warnings when nothing can be learned, each with its reason and advice."""

import pytest

from harness.run import diagnostics
from harness.run.job import run_job
from tests.toys import base_job, rl_job, tiny

FINE = {
    "train/truncated": 0.1,
    "train/zero_advantage_groups": 0.5,
    "train/grad_norm": 0.3,
    "train/entropy": 0.5,
    "train/sampler_policy_kl": 1e-6,
}


def test_a_healthy_run_raises_no_alarm():
    assert diagnostics.during_rl([FINE] * 20) == []
    assert diagnostics.before_rl(0.3) == []


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
    (message,) = diagnostics.during_rl([FINE] * 3 + [dead] * diagnostics.WINDOW)
    assert said in message
    assert diagnostics.during_rl([dead] * (diagnostics.WINDOW - 1)) == []
    assert diagnostics.during_rl([dead] * (diagnostics.WINDOW - 1) + [FINE]) == []


def test_a_base_that_solves_nothing_or_everything_is_said_before_rl():
    assert "all wrong" in diagnostics.before_rl(0.0)[0]
    assert "nothing is left to gain" in diagnostics.before_rl(0.99)[0]


def test_a_run_that_cannot_learn_says_why_while_it_runs(tmp_path):
    """One token is never a whole answer with its stop token."""
    heard = []
    config = tiny("sampling.max_new_tokens=1", "rl.steps=9", "tasks.verified=[maximum.symbolic]", out=tmp_path)
    run_job(base_job(config), heard.append)
    run_job(rl_job(config), heard.append)
    messages = [row["alarm"] for row in heard if "alarm" in row]
    assert any("all wrong" in message for message in messages)
    assert len(messages) == len(set(messages))
