"""Schedules are pure functions of the step; the optimizer treats stacked seeds as strangers."""

import pytest
import torch
from torch import nn

from harness.config import ScheduleConfig
from harness.train.optim import learning_rate_factor, make_optimizer, zero_gradients
from tests.toys import tiny, toy_state

CONSTANT, WSD = ScheduleConfig("constant", 4, 0.0), ScheduleConfig("wsd", 4, 0.2)


def factors(schedule, steps):
    return [learning_rate_factor(schedule, step, steps) for step in range(steps)]


def test_a_constant_schedule_does_not_know_the_horizon():
    assert factors(CONSTANT, 100)[:30] == factors(CONSTANT, 30)
    assert factors(CONSTANT, 8) == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1])


def test_wsd_agrees_with_the_constant_schedule_until_its_decay():
    """So a decay branches off a trunk."""
    assert factors(WSD, 100)[:80] == factors(CONSTANT, 100)[:80]
    assert factors(WSD, 100)[80:] == pytest.approx([(100 - step) / 20 for step in range(80, 100)])


@pytest.mark.parametrize("schedule", [CONSTANT, WSD])
@pytest.mark.parametrize("steps", [1, 3, 50])
def test_every_step_has_a_learning_rate_above_zero(schedule, steps):
    assert all(0 < factor <= 1 for factor in factors(schedule, steps))


def test_norm_gains_are_not_decayed():
    state = toy_state(0, optim=tiny("optim.weight_decay=0.5", "optim.lr=0.1").optim)
    zero_gradients(state.policy)
    before = {name: weight.detach().clone() for name, weight in state.policy.named_parameters()}
    state.optimizer.step()
    for name, weight in state.policy.named_parameters():
        assert torch.equal(weight, before[name]) == name.endswith("norm"), name


def test_gradients_are_zeroed_and_never_none():
    """None would make Adam skip the weight: a silent step would not decay its momentum."""
    layer = nn.Linear(2, 2)
    zero_gradients(layer)
    assert all((w.grad == 0).all() for w in layer.parameters())


def test_the_optimizer_is_adamw_with_the_numbers_of_the_configuration():
    config = tiny("optim.beta1=0.8", "optim.beta2=0.9", "optim.eps=1e-6", "optim.lr=0.003").optim
    optimizer = make_optimizer(nn.Linear(2, 2), config)
    for group in optimizer.param_groups:
        assert (group["lr"], group["betas"], group["eps"]) == (0.003, (0.8, 0.9), 1e-6)
