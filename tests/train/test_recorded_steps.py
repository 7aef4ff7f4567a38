"""A step of fixed shapes, recorded for a GPU, trains as the plain path does (rehearsed on a CPU)."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from envs.vector import TextVectorEnv
from harness.bench.rehearsal import Watched, rehearsed
from harness.core.flops import Spent
from harness.policy.backends import native
from harness.run.run import new_state, training_mixture
from harness.train.curriculum import untried
from harness.train.pretrain import corpus_of, pretrain_step
from harness.train.problems import Ahead, problems_of
from harness.train.rl import rl_step
from tests.toys import tiny
from tests.train.test_pretrain import base_state
from tests.train.test_rl import steps

OPTIONS = [
    ("algo=grpo",),
    ("algo=rloo", "optim.minibatches=2", "optim.weight_decay=0.1"),
    ("algo=dapo", "optim.epochs=2", "optim.micro_batch=1"),
    ("algo=gspo", "algo.kl=k3", "algo.kl_coefficient=0.1", "algo.entropy_bonus=0.01"),
    ("algo=ppo",),
    ("reward=format_reward",),
    ("reward=length_reward", "rl.off_policy_steps=2"),
    ("algo=reinforce_pp", "tasks.retire_at=0.25", "tasks.difficulties=[1]"),
]


@pytest.mark.parametrize("settings", OPTIONS, ids=" ".join)
@pytest.mark.parametrize("seeds", [(4,), (4, 9)], ids=["alone", "stacked"])
def test_recorded_steps_train_as_the_plain_ones(settings, seeds):
    config = tiny(*settings)
    with native.plain():
        state, plain, reports = steps(config, 5, *seeds)
        with rehearsed() as recorder:
            other, recorded, told = steps(config, 5, *seeds)
    assert recorder.replayed > 3
    assert recorder.made >= 2  # sampling, of a policy that lags too, and the update
    for one, two in zip(plain, recorded):
        for x, y in zip(one, two):
            torch.testing.assert_close(x, y, rtol=0, atol=1e-4)
    for a, b in zip(reports, told):
        assert a.metrics.keys() == b.metrics.keys()
        for name, value in a.metrics.items():
            torch.testing.assert_close(b.metrics[name], value, rtol=1e-3, atol=1e-4, equal_nan=True)
    assert [s.tokens for s in state.spent] == [s.tokens for s in other.spent]
    assert [s.flops_convention for s in state.spent] == [s.flops_convention for s in other.spent]


def test_a_recorded_step_looks_at_no_number_but_to_see_that_all_are_numbers():
    config = tiny("rl.problems=8")
    with rehearsed():
        state, mixture = new_state(config, config.optim, (0, 1)), training_mixture(config)
        env = TextVectorEnv(64, "toy.symbolic")
        for _ in range(3):
            rl_step(config, state, env, mixture)
        with Watched() as watched:
            rl_step(config, state, env, mixture)
    assert watched.looks == 1


def test_recorded_pretraining_learns_what_the_plain_path_does():
    base = tiny("base.documents=10").base
    mixture, ends = corpus_of(base), []
    with native.plain():
        for recorder in (nullcontext(), rehearsed()):
            state = base_state(base, 3, 8)
            with recorder as made:
                reports = [pretrain_step(base, state, mixture) for _ in range(4)]
            ends.append((reports, list(state.policy.parameters())))
    assert made.replayed >= 1
    for (a, b), (x, y) in zip(zip(ends[0][0], ends[1][0]), zip(ends[0][1], ends[1][1])):
        torch.testing.assert_close(a.metrics["loss"], b.metrics["loss"], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(x, y, rtol=0, atol=1e-3)


@pytest.mark.parametrize("settings", [(), ("tasks.retire_at=0.25",), ("tasks.target_success=0.5",)], ids=str)
def test_problems_drawn_ahead_are_those_that_the_step_would_draw(settings):
    config = tiny(*settings)
    state, mixture = new_state(config, config.optim, (0, 5)), training_mixture(config)
    if config.tasks.target_success:
        state.success = untried(mixture, 2, 0.5)
    with ThreadPoolExecutor(1) as pool:
        ahead = Ahead(pool)
        for step in (0, 1, 2, 7, 8, 3):  # a run may go on from anywhere
            state.spent = (Spent(step=step),) * 2
            problems, chances = ahead(config, state, mixture)
            expected, odds = problems_of(config, state, mixture)
            assert problems == expected
            assert np.array_equal(np.array(chances, dtype=object), np.array(odds, dtype=object))
