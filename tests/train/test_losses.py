"""The loss: sums over tokens, divided by the caller under one denominator."""

import pytest
import torch

from harness.config import AlgoConfig
from harness.train.losses import LOSSES, LossInputs

RLOO = AlgoConfig("rloo", "none", 0.2, 0.3)


def inputs(ratio, advantages, mask=None):
    """Policy at log p, sampler at log p - log ratio; [1, 2, 3]."""
    ratio, advantages = torch.tensor([ratio]), torch.tensor([advantages])
    logprobs = torch.full_like(ratio, -1.0).requires_grad_()
    mask = torch.ones_like(ratio, dtype=torch.bool) if mask is None else torch.tensor([mask])
    return LossInputs(logprobs, logprobs.detach() - ratio.log(), advantages, mask)


RATIO = [[1.0, 1.5, 0.5], [1.0, 1.5, 0.5]]
ADVANTAGES = [[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]]


def test_a_2_by_3_example_by_hand():
    """Good tokens: 1, 1.5 -> 1.3 (clipped), .5. Bad ones: -1, -1.5, -.5 -> -.8 (clipped)."""
    loss, metrics = LOSSES["rloo"](inputs(RATIO, ADVANTAGES), RLOO)
    assert loss.item() == pytest.approx(-((1 + 1.3 + 0.5) + (-1 - 1.5 - 0.8)), abs=1e-6)
    assert metrics["ratio_clipped"].item() == 2
    kl = sum(2 * (r - 1 - torch.tensor(r).log().item()) for r in (1.0, 1.5, 0.5))
    assert metrics["sampler_policy_kl"].item() == pytest.approx(kl, abs=1e-5)


def test_clipped_tokens_get_no_gradient_and_the_others_ratio_times_advantage():
    given = inputs(RATIO, ADVANTAGES)
    LOSSES["rloo"](given, RLOO)[0].sum().backward()
    expected = torch.tensor([[[-1.0, 0.0, -0.5], [1.0, 1.5, 0.0]]])
    torch.testing.assert_close(given.logprobs.grad, expected)


def test_at_ratio_one_the_gradient_is_that_of_reinforce():
    given = inputs([[1.0] * 3] * 2, [[2.0, -1.0, 0.5]] * 2)
    LOSSES["rloo"](given, RLOO)[0].sum().backward()
    torch.testing.assert_close(given.logprobs.grad, -given.advantages)


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf")])
def test_what_stands_at_masked_places_never_counts(poison):
    mask = [[True, True, False], [True, False, True]]
    clean = inputs(RATIO, ADVANTAGES, mask)
    sampler, advantages = clean.sampler_logprobs.clone(), clean.advantages.clone()
    sampler[~clean.mask], advantages[~clean.mask] = poison, poison
    logprobs = clean.logprobs.detach().clone().requires_grad_()
    dirty = LossInputs(logprobs, sampler, advantages, clean.mask)
    (a, am), (b, bm) = LOSSES["rloo"](clean, RLOO), LOSSES["rloo"](dirty, RLOO)
    assert torch.equal(a, b)
    assert all(torch.equal(am[name], bm[name]) for name in am)
    a.sum().backward()
    b.sum().backward()
    assert torch.equal(clean.logprobs.grad, logprobs.grad)


def test_a_batch_with_nothing_to_learn_from_has_loss_zero():
    nothing = inputs(RATIO, ADVANTAGES, [[False] * 3] * 2)
    loss, metrics = LOSSES["rloo"](nothing, RLOO)
    loss.sum().backward()
    assert loss.item() == metrics["sampler_policy_kl"].item() == 0
    assert (nothing.logprobs.grad == 0).all()


def test_a_wild_ratio_stays_finite():
    loss, metrics = LOSSES["rloo"](inputs([[1e30, 1e-30, 1.0]] * 2, ADVANTAGES), RLOO)
    assert torch.isfinite(loss).all()
    assert torch.isfinite(metrics["sampler_policy_kl"]).all()


def test_each_stacked_seed_has_a_loss_of_its_own():
    a, b = inputs(RATIO, ADVANTAGES), inputs([[1.0] * 3] * 2, ADVANTAGES)
    joined = LossInputs(*(torch.cat((getattr(a, f), getattr(b, f))) for f in LossInputs.__dataclass_fields__))
    torch.testing.assert_close(LOSSES["rloo"](joined, RLOO)[0], torch.cat([LOSSES["rloo"](x, RLOO)[0] for x in (a, b)]))
