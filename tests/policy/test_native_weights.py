"""The compiled path computes with the weights as they are at each call, however they were changed."""

import copy
import weakref
from dataclasses import replace

import pytest
import torch

from harness.core.seeding import keys
from harness.policy.backends.native import weights as packed_weights
from harness.policy.logprobs import token_logprobs
from harness.train.critic import add_critic
from harness.train.optim import make_optimizer
from harness.train.state import TrainState
from tests.policy.conftest import needs_compiler
from tests.policy.test_native import NATIVE, needs_amx, policy_of
from tests.policy.test_sampler import PROMPTS, eager_to_stop
from tests.toys import tiny

pytestmark = needs_compiler
IDS = PROMPTS[None]


def logits(policy):
    return policy.logits(NATIVE.hidden(policy, IDS))


def score(policy):
    return NATIVE.token_logprobs(policy, IDS, 1.0)


def assert_uses_its_weights(policy):
    """The compiled results are those that eager PyTorch computes from the same weights."""
    expected = policy(IDS), token_logprobs(policy, IDS, 1.0)
    torch.testing.assert_close((logits(policy), score(policy)), expected, rtol=1e-4, atol=1e-4)


def gradient_step(policy, optimizer):
    """One step; the weights were packed before it, and it changes results by more than rounding."""
    before = logits(policy).detach()
    policy.zero_grad()
    score(policy).sum().backward()
    optimizer.step()
    assert (policy(IDS) - before).abs().max() > 1e-3


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("optim", ["adamw", "muon"])
def test_an_optimizer_step_is_seen(optim, copied):
    """Fused AdamW does not count in PyTorch's version counters."""
    policy = eager_to_stop(0)
    twin, before = copy.deepcopy(policy), logits(policy).detach()
    optimizer = make_optimizer(policy, replace(tiny().optim, name=optim))
    policy, optimizer = copy.deepcopy((policy, optimizer)) if copied else (policy, optimizer)
    for _ in range(2):
        gradient_step(policy, optimizer)
        assert_uses_its_weights(policy)
    torch.testing.assert_close(logits(twin), before, rtol=0, atol=0)


@pytest.mark.parametrize("optim", ["adamw", "muon"])
def test_the_policys_optimizer_changes_the_critics_packed_weights_too(optim):
    config = replace(tiny().optim, name=optim)
    policy = eager_to_stop(0)
    state = TrainState((0,), policy, make_optimizer(policy, config), NATIVE)
    add_critic(state, tiny("algo=ppo").algo, config)
    assert_uses_its_weights(state.critic)
    before = state.critic.blocks[0].qkv.detach().clone()
    for weight in state.learners.parameters():
        weight.grad = torch.ones_like(weight)
    logits(state.critic)
    versions = state.critic.weights_version, policy.weights_version
    state.optimizer.step()
    assert not torch.equal(before, state.critic.blocks[0].qkv)
    assert state.critic.weights_version > versions[0]
    assert policy.weights_version > versions[1]
    assert_uses_its_weights(state.critic)


CHANGES = {
    "in place": lambda policy, other: policy.blocks[0].down.mul_(2),
    "copy_": lambda policy, other: policy.blocks[0].down.copy_(other.blocks[0].down),
    "permuted numbers": lambda policy, other: policy.blocks[0].down.mul_(torch.tensor([2.0, 0.5]).repeat(8)),
    "a norm": lambda policy, other: policy.blocks[0].mlp_norm.mul_(3),
    "the head": lambda policy, other: policy.head.neg_(),
    "load_state_dict": lambda policy, other: policy.load_state_dict(other.state_dict()),
    "initialise": lambda policy, other: policy.initialise(keys("init", [7], 0)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_by_pytorch_is_seen(change):
    policy, other = eager_to_stop(0), policy_of(init_std=0.1)
    assert_uses_its_weights(policy)
    before = score(policy).detach()
    with torch.no_grad():
        CHANGES[change](policy, other)
    assert (score(policy) - before).abs().max() > 1e-3
    assert_uses_its_weights(policy)


def test_a_replaced_tensor_is_seen():
    """A weight's storage changes, its version counter need not."""
    policy, other = eager_to_stop(0), policy_of(init_std=0.1)
    assert_uses_its_weights(policy)
    version = policy.weights_version
    policy.blocks[0].down.data = other.blocks[0].down.detach().clone()
    assert policy.weights_version == version
    assert_uses_its_weights(policy)


def test_a_new_tensor_at_the_address_of_a_freed_one_is_seen():
    """What was packed is held until it is packed anew."""
    policy = eager_to_stop(0)
    for _ in range(20):
        assert_uses_its_weights(policy)
        for _ in range(2):  # the second is allocated where the packed one was, if that is free
            policy.blocks[0].down.data = torch.randn(policy.blocks[0].down.shape)


def test_weights_are_packed_once_per_change(monkeypatch):
    policy, packed, pack = eager_to_stop(0), [], packed_weights._pack
    monkeypatch.setattr(packed_weights, "_pack", lambda seeds: (packed.append(1), pack(seeds))[1])
    for _ in range(3):
        logits(policy)
        score(policy)
    assert len(packed) == 1
    with torch.no_grad():
        policy.head.mul_(2)
    logits(policy)
    assert len(packed) == 2


@needs_amx
def test_a_changed_precision_is_seen():
    policy = policy_of(1, "bf16", width=32, mlp=48)
    bf16 = logits(policy)
    policy.precision = "fp32"
    assert_uses_its_weights(policy)
    policy.precision = "bf16"
    assert torch.equal(logits(policy), bf16)


def test_the_last_packed_weights_are_freed_before_new_ones_are_packed(monkeypatch):
    """Else each step of a large policy holds both, and all pages of the new ones are faulted in."""
    policy = eager_to_stop(0)
    logits(policy)
    last, pack, alive = weakref.ref(packed_weights._cache[policy].data), packed_weights._pack, []

    def recorded(seeds):
        alive.append(last() is not None)
        return pack(seeds)

    monkeypatch.setattr(packed_weights, "_pack", recorded)
    with torch.no_grad():
        policy.head.mul_(2)
    logits(policy)
    assert alive == [False]
