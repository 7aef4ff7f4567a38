"""A run under any algorithm and option goes on exactly where it stood."""

import warnings
from dataclasses import replace

import pytest

from harness.run.job import run_job
from tests.run.test_job import assert_same_run
from tests.toys import base_job, rl_job, silent, tiny, train

CHOICES = [
    ("algo=grpo", "rl.off_policy_steps=2"),
    ("algo=dapo", "optim.epochs=2", "optim.minibatches=2"),
    ("algo=reinforce_pp", "algo.kl=k1", "algo.kl_coefficient=0.1"),
    ("algo=cispo", "algo.kl=k3", "algo.kl_coefficient=0.1", "algo.entropy_bonus=0.01"),
    ("algo=ppo", "optim.epochs=2", "rl.off_policy_steps=1"),
    ("algo=ppo", "optim=muon", "reward=learned_reward", "reward.model.steps=2"),
    ("algo=sft", "rl.group_size=1"),
    ("algo=expert_iteration", "rl.off_policy_steps=1"),
    ("objective=continued_pretraining",),
    ("tasks.target_success=0.5",),
    ("tasks.retire_at=0.25", "tasks.difficulties=[1]", "rl.problems=16"),
    ("tasks.distinct_problems=10", "tasks.pool_exponent=1.0"),
    ("tasks.distinct_problems=10", "objective=continued_pretraining"),
    ("reward=learned_reward", "reward.model.steps=3", "algo.kl=k1", "algo.kl_coefficient=0.1"),
    ("base.scratchpad_share=0.5", "sampling.thinking=6", "evaluation.thinking=[0,6]", "reward=process_reward"),
    ("base.scratchpad_share=0.5", "sampling.thinking=3", "reward=process_reward", "algo=ppo", "rl.off_policy_steps=1"),
    ("base.scratchpad_share=0.5", "sampling.thinking=3", "algo=sft", "rl.group_size=1"),
    ("base.scratchpad_share=0.5", "sampling.thinking=6", "objective=continued_pretraining"),
    ("optim=muon", "model.norm=layernorm", "model.norm_position=post", "model.base_width=8"),
]


@pytest.mark.parametrize("settings", CHOICES, ids=" ".join)
def test_a_run_that_was_interrupted_equals_one_that_was_not(settings, tmp_path):
    """Resumed in the middle from what the checkpoint holds, against six steps at one go."""

    def run(steps, out):
        budgets = [b for b in (0, 3, 6) if b <= steps]
        return train(tiny(f"rl.steps={steps}", f"budgets={budgets}", *settings, out=tmp_path / out))

    run(3, "twice")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a gradient that reaches what should be frozen, say
        twice = run(6, "twice")
    assert_same_run(twice, run(6, "once"))


@pytest.mark.parametrize("objective", ["rl", "continued_pretraining"])
def test_a_sequence_goes_on_exactly_and_a_longer_one_is_another_run(objective, tmp_path):
    """Interrupted in its first phase and resumed, against six steps at one go: rl.steps is part of its identity."""

    def config(out, steps=6):
        phases = ("tasks.sequence=true", "tasks.verified=[toy.symbolic,reversal.symbolic]", "tasks.replay=0.25")
        return tiny(f"rl.steps={steps}", f"objective={objective}", "budgets=[0]", *phases, out=tmp_path / out)

    run_job(base_job(config("twice")), silent)
    run_job(replace(rl_job(config("twice"), 2), budgets=(0,)), silent)
    assert_same_run(train(config("twice")), train(config("once")))
    assert rl_job(config("twice", 8)).run_id != rl_job(config("twice")).run_id
