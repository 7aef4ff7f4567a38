"""Schedules are pure functions of the step; the optimizer treats stacked seeds as strangers."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from harness.config.schema import ScheduleConfig
from harness.train.optim import accumulate_gradients, learning_rate_factor, orthogonalised, set_learning_rate
from tests.toys import tiny, toy_state

CONSTANT, WSD = ScheduleConfig("constant", 4, 0.0), ScheduleConfig("wsd", 4, 0.2)
LINEAR, COSINE = ScheduleConfig("linear", 0, 1.0), ScheduleConfig("cosine", 0, 1.0)


def factors(schedule, steps):
    return [learning_rate_factor(schedule, step, steps) for step in range(steps)]


def test_a_constant_schedule_does_not_know_the_horizon():
    assert factors(CONSTANT, 100)[:30] == factors(CONSTANT, 30)
    assert factors(CONSTANT, 8) == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1])


def test_wsd_agrees_with_the_constant_schedule_until_its_decay():
    """So a decay branches off a trunk."""
    assert factors(WSD, 100)[:80] == factors(CONSTANT, 100)[:80]
    assert factors(WSD, 100)[80:] == pytest.approx([(100 - step) / 20 for step in range(80, 100)])


def test_linear_and_cosine_decay_over_the_whole_run():
    assert factors(LINEAR, 4) == pytest.approx([1, 0.75, 0.5, 0.25])
    assert factors(COSINE, 4) == pytest.approx([1, 0.5 + 8**-0.5, 0.5, 0.5 - 8**-0.5])


@pytest.mark.parametrize("schedule", [CONSTANT, WSD, LINEAR, COSINE])
@pytest.mark.parametrize("steps", [1, 3, 50])
def test_every_step_has_a_learning_rate_above_zero(schedule, steps):
    assert all(0 < factor <= 1 for factor in factors(schedule, steps))


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_norm_gains_are_not_decayed(name):
    state = toy_state(0, optim=tiny(f"optim={name}", "optim.weight_decay=0.5", "optim.lr=0.1").optim)
    accumulate_gradients(list(state.policy.parameters()), [])
    before = {name: weight.detach().clone() for name, weight in state.policy.named_parameters()}
    state.optimizer.step()
    for name, weight in state.policy.named_parameters():
        assert torch.equal(weight, before[name]) == name.endswith("norm"), name


def test_gradients_of_no_batch_are_zero_and_never_none():
    """None would make Adam skip the weight: a silent step would not decay its momentum."""
    layer = nn.Linear(2, 2)
    accumulate_gradients(list(layer.parameters()), [])
    assert all((w.grad == 0).all() for w in layer.parameters())


def test_the_optimizer_is_adamw_with_the_numbers_of_the_configuration():
    config = tiny("optim.beta1=0.8", "optim.beta2=0.9", "optim.eps=1e-6", "optim.lr=0.003").optim
    optimizer = toy_state(0, optim=config).optimizer
    assert isinstance(optimizer, torch.optim.AdamW)
    for group in optimizer.param_groups:
        assert (group["lr"], group["betas"], group["eps"]) == (0.003, (0.8, 0.9), 1e-6)


def test_the_learning_rate_of_a_weight_is_scaled_by_its_factor():
    model = replace(tiny().model, base_width=8)
    state = toy_state(0, model=model)
    set_learning_rate(state.optimizer, 0.5)
    rates = {id(w): group["lr"] for group in state.optimizer.param_groups for w in group["params"]}
    for name, weight in state.policy.named_parameters():
        assert rates[id(weight)] == (0.5 if name == "embedding" or name.endswith("norm") else 0.25), name


# ---- Muon


def matrix(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(8, 24), (24, 8), (16, 16)])
def test_orthogonalising_keeps_singular_vectors_and_sets_singular_values_to_about_one(shape):
    x = matrix(*shape)
    u, s, v = torch.linalg.svd(x, full_matrices=False)
    found = u.mT @ orthogonalised(x) @ v.mT
    assert s.max() / s.min() > 1.5
    assert ((found.diagonal() > 0.6) & (found.diagonal() < 1.3)).all()
    torch.testing.assert_close(found, torch.diag(found.diagonal()), rtol=0, atol=1e-3)


def test_each_matrix_of_a_stack_is_orthogonalised_by_itself():
    x = torch.stack([matrix(4, 6), 1e3 * matrix(4, 6, seed=1), torch.zeros(4, 6)])
    for alone, together in zip(x, orthogonalised(x)):
        torch.testing.assert_close(orthogonalised(alone), together, rtol=1e-4, atol=1e-5)
    assert (orthogonalised(x)[2] == 0).all()


def gradients_for(state, seed=0):
    for i, weight in enumerate(state.policy.parameters()):
        weight.grad = matrix(*weight.shape, seed=seed + i)


def muon_change(steps=1):
    """State and what its weights changed by, in units of the learning rate."""
    state = toy_state(0, optim=tiny("optim=muon", "optim.lr=0.01").optim)
    before = {name: weight.detach().clone() for name, weight in state.policy.named_parameters()}
    for step in range(steps):
        gradients_for(state, 100 * step)
        state.optimizer.step()
    return state, {name: (before[name] - weight.detach()) / 0.01 for name, weight in state.policy.named_parameters()}


def test_muon_turns_each_of_the_matrices_that_lie_side_by_side():
    """Queries, keys and values have singular values of .2·sqrt(longer side) each, as every other matrix: a change is
    then about as large as Adam's."""
    _, change = muon_change()
    parts = {
        "qkv": change["blocks.0.qkv"][0].chunk(3, dim=1),
        "gate_up": change["blocks.0.gate_up"][0].chunk(2, dim=1),
        "attention_out": change["blocks.0.attention_out"],
        "down": change["blocks.0.down"],
    }
    for matrices in parts.values():
        for x in matrices:
            s = torch.linalg.svdvals(x) / (0.2 * max(x.shape) ** 0.5)
            assert ((s > 0.6) & (s < 1.3)).all()


def test_what_is_no_matrix_of_a_block_is_trained_by_adamw():
    _, change = muon_change(steps=3)
    reference = toy_state(0, optim=tiny("optim.lr=0.01", "optim.beta1=0.95").optim)
    before = {name: weight.detach().clone() for name, weight in reference.policy.named_parameters()}
    for step in range(3):
        gradients_for(reference, 100 * step)
        reference.optimizer.step()
    for name, weight in reference.policy.named_parameters():
        same = torch.allclose(change[name], (before[name] - weight.detach()) / 0.01, rtol=1e-3, atol=1e-4)
        assert same == (not name.startswith("blocks") or name.endswith("norm")), name


def test_muon_trains_stacked_seeds_as_separate_ones():
    config = tiny("optim=muon", "optim.weight_decay=0.1").optim
    stacked, alone = toy_state(3, 4, optim=config), toy_state(4, optim=config)
    for step in range(3):
        gradients_for(stacked, 50 * step)
        for a, b in zip(stacked.policy.parameters(), alone.policy.parameters()):
            b.grad = a.grad[1:].clone()
        stacked.optimizer.step()
        alone.optimizer.step()
    for a, b in zip(stacked.policy.parameters(), alone.policy.parameters()):
        torch.testing.assert_close(a[1], b[0], rtol=1e-4, atol=1e-5)
