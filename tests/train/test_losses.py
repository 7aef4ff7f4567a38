"""The loss: sums over tokens, divided by the caller under one denominator."""

from dataclasses import replace

import pytest
import torch

from harness.policy.logprobs import entropy_from_logits
from harness.train.algorithms import ALGORITHMS
from harness.train.losses import LossInputs, clipped_policy_gradient, regularisers
from tests.toys import algo

RLOO = algo("rloo", clip_low=0.2, clip_high=0.3)


FIELDS = ("logprobs", "sampler_logprobs", "advantages", "mask")


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
    loss, metrics = clipped_policy_gradient(inputs(RATIO, ADVANTAGES), RLOO)
    assert loss.item() == pytest.approx(-((1 + 1.3 + 0.5) + (-1 - 1.5 - 0.8)), abs=1e-6)
    assert metrics["ratio_clipped"].item() == 2
    kl = sum(2 * (r - 1 - torch.tensor(r).log().item()) for r in (1.0, 1.5, 0.5))
    assert metrics["sampler_policy_kl"].item() == pytest.approx(kl, abs=1e-5)


def test_clipped_tokens_get_no_gradient_and_the_others_ratio_times_advantage():
    given = inputs(RATIO, ADVANTAGES)
    clipped_policy_gradient(given, RLOO)[0].sum().backward()
    expected = torch.tensor([[[-1.0, 0.0, -0.5], [1.0, 1.5, 0.0]]])
    torch.testing.assert_close(given.logprobs.grad, expected)


def test_a_batch_with_nothing_to_learn_from_has_loss_zero():
    nothing = inputs(RATIO, ADVANTAGES, [[False] * 3] * 2)
    loss, metrics = clipped_policy_gradient(nothing, RLOO)
    loss.sum().backward()
    assert loss.item() == metrics["sampler_policy_kl"].item() == 0
    assert (nothing.logprobs.grad == 0).all()


def test_each_stacked_seed_has_a_loss_of_its_own():
    a, b = inputs(RATIO, ADVANTAGES), inputs([[1.0] * 3] * 2, ADVANTAGES)
    concatenate = LossInputs(*(torch.cat((getattr(a, f), getattr(b, f))) for f in FIELDS))
    alone = torch.cat([clipped_policy_gradient(x, RLOO)[0] for x in (a, b)])
    torch.testing.assert_close(clipped_policy_gradient(concatenate, RLOO)[0], alone)


def test_a_row_counts_as_much_as_its_weight():
    """Weights 1 and .5 of the rows of the example by hand."""
    given = replace(inputs(RATIO, ADVANTAGES), weight=torch.tensor([[1.0, 0.5]]))
    loss, metrics = clipped_policy_gradient(given, RLOO)
    assert loss.item() == pytest.approx(-((1 + 1.3 + 0.5) + 0.5 * (-1 - 1.5 - 0.8)), abs=1e-6)
    assert metrics["ratio_clipped"].item() == 2  # of tokens, weighted or not


def gradient(name, ratio, advantages, **numbers):
    given = inputs(ratio, advantages)
    loss, metrics = ALGORITHMS[name].loss(given, algo(name, **numbers))
    loss.sum().backward()
    return given.logprobs.grad[0], loss.item(), metrics


def test_cispo_by_hand():
    """Weights 1, 1.28 (clipped) and .5 without a gradient of their own: every token keeps one."""
    grad, loss, metrics = gradient("cispo", RATIO, ADVANTAGES)
    torch.testing.assert_close(grad, torch.tensor([[-1.0, -1.28, -0.5], [1.0, 1.28, 0.5]]))
    assert loss == pytest.approx(0.0, abs=1e-6)  # log p is -1 everywhere, the advantages cancel
    assert metrics["ratio_clipped"].item() == 2


def test_gspo_by_hand():
    """One ratio a completion: (1 · 1.5 · .5)^(1/3) = .9086 and (2 · 1 · 1)^(1/3) = 1.26, clipped at 1.1 where good."""
    ratio, low = [[1.0, 1.5, 0.5], [2.0, 1.0, 1.0]], 0.75 ** (1 / 3)
    grad, loss, metrics = gradient("gspo", ratio, [[1.0] * 3, [1.0] * 3], clip_low=0.2, clip_high=0.1)
    assert loss == pytest.approx(-3 * (low + 1.1), abs=1e-6)
    # d ratio / d log p of each of its three tokens = ratio / 3, and it counts once for each of three tokens.
    torch.testing.assert_close(grad, torch.tensor([[-low] * 3, [0.0] * 3]))
    assert metrics["ratio_clipped"].item() == 3


def test_gspo_takes_the_ratio_over_the_drawn_tokens_alone():
    mask = [[True, True, False], [True, False, True]]
    given = inputs([[4.0, 1.0, 7.0], [1.0, 7.0, 1.0]], [[1.0] * 3] * 2, mask)
    loss, _ = ALGORITHMS["gspo"].loss(given, algo("gspo", clip_high=9.0))
    assert loss.item() == pytest.approx(-2 * (4.0**0.5 + 1), abs=1e-5)


@pytest.mark.parametrize("name", ["expert_iteration", "sft"])
def test_likelihood_is_cross_entropy_of_what_has_an_advantage(name):
    grad, loss, metrics = gradient(name, RATIO, [[1.0] * 3, [0.0] * 3])
    torch.testing.assert_close(grad, torch.tensor([[-1.0] * 3, [0.0] * 3]))
    assert (loss, metrics["ratio_clipped"].item()) == (3.0, 0)


@pytest.mark.parametrize("poison", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", ["rloo", "cispo", "gspo", "sft"])
def test_what_stands_at_masked_places_never_counts(name, poison):
    clean = inputs(RATIO, ADVANTAGES, [[True, True, False], [True, False, True]])
    sampler, advantages = (torch.where(clean.mask, x, poison) for x in (clean.sampler_logprobs, clean.advantages))
    dirty = LossInputs(clean.logprobs.detach().clone().requires_grad_(), sampler, advantages, clean.mask)
    (a, am), (b, bm) = (ALGORITHMS[name].loss(given, algo(name)) for given in (clean, dirty))
    assert torch.equal(a, b)
    assert all(torch.equal(am[metric], bm[metric]) for metric in am)
    if name == "rloo":
        (a + b).sum().backward()
        assert torch.equal(clean.logprobs.grad, dirty.logprobs.grad)


@pytest.mark.parametrize("name", ["rloo", "cispo", "gspo", "sft"])
def test_a_wild_ratio_stays_finite(name):
    loss, metrics = ALGORITHMS[name].loss(inputs([[1e30, 1e-30, 1.0]] * 2, ADVANTAGES), algo(name))
    assert torch.isfinite(loss).all()
    assert torch.isfinite(metrics["sampler_policy_kl"]).all()


# ---- KL and entropy, on a vocabulary of five tokens


def every_token(policy_logits, sampler_logits, reference_logits):
    """Rows of one token, each of the vocabulary once, weighted by the sampler's probability: sums are expectations."""
    logp, q, ref = (x.log_softmax(-1) for x in (policy_logits, sampler_logits, reference_logits))
    shape = lambda x: x.view(1, 5, 1)  # noqa: E731
    mask = torch.ones(1, 5, 1, dtype=torch.bool)
    return LossInputs(shape(logp), shape(q), torch.zeros(1, 5, 1), mask, q.exp().view(1, 5), shape(ref))


def five(seed, scale=1.0):
    return scale * torch.randn(5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def kl_gradient(form, policy, sampler, reference):
    policy = policy.clone().requires_grad_()
    config = algo("rloo", kl=form, kl_coefficient=1.0)
    loss, metrics = regularisers(every_token(policy, sampler, reference), config)
    loss.sum().backward()
    return loss.item(), policy.grad, metrics


def exact_kl(policy, reference):
    policy = policy.clone().requires_grad_()
    p, r = policy.log_softmax(-1), reference.log_softmax(-1)
    kl = (p.exp() * (p - r)).sum()
    kl.backward()
    return kl.item(), policy.grad


@pytest.mark.parametrize("form", ["k2", "k3"])
@pytest.mark.parametrize("stale", [False, True], ids=["on policy", "stale sampler"])
def test_the_expected_gradient_of_a_kl_term_is_that_of_the_exact_kl(form, stale):
    policy, reference = five(0), five(1)
    value, grad, _ = kl_gradient(form, policy, five(2) if stale else policy, reference)
    exact, exact_grad = exact_kl(policy, reference)
    torch.testing.assert_close(grad, exact_grad)
    if form == "k3":
        assert value == pytest.approx(exact)


def test_the_textbook_k3_term_would_have_another_gradient():
    """So the test above can fail: without the ratio's gradient k3 pulls the other way round (pitfall 25)."""
    policy, reference = five(0).requires_grad_(), five(1)
    p, r = policy.log_softmax(-1), reference.log_softmax(-1)
    (p.detach().exp() * ((r - p).exp() - 1 - (r - p))).sum().backward()
    assert (policy.grad - exact_kl(five(0), reference)[1]).abs().max() > 0.05


@pytest.mark.parametrize("form", ["k1", "k2", "k3"])
def test_no_divergence_from_the_reference_is_no_gradient_and_a_huge_one_stays_finite(form):
    same = kl_gradient(form, five(0), five(0), five(0)) if form != "k1" else (0.0, torch.zeros(5), {})
    assert same[0] == pytest.approx(0, abs=1e-12)
    assert same[1].abs().max() < 1e-12
    far = regularisers(
        every_token(five(0).requires_grad_(), five(0), five(1, 1e3)), algo("rloo", kl=form, kl_coefficient=1.0)
    )
    assert torch.isfinite(far[0]).all()
    assert torch.isfinite(far[1]["ref_kl"]).all()


def test_ref_kl_is_the_mean_of_k3_over_tokens():
    policy, reference = five(0), five(1)
    given = replace(every_token(policy, policy, reference), weight=None)
    p, r = policy.log_softmax(-1), reference.log_softmax(-1)
    expected = ((r - p).exp() - 1 - (r - p)).sum()
    assert regularisers(given, algo("rloo", kl="k1"))[1]["ref_kl"].item() == pytest.approx(expected.item())


def test_the_entropy_bonus_raises_entropy():
    logits = five(0).requires_grad_()
    entropy = entropy_from_logits(logits, 1.0)
    given = replace(every_token(logits, logits.detach(), five(1)), entropy=entropy.expand(1, 5, 1), ref_logprobs=None)
    loss, _ = regularisers(given, algo("rloo", entropy_bonus=0.5))
    loss.sum().backward()
    p = logits.detach().softmax(-1)
    assert entropy.item() == pytest.approx(-(p * p.log()).sum().item())
    exact = five(0).requires_grad_()
    (exact.softmax(-1) * exact.log_softmax(-1)).sum().mul(0.5).backward()
    torch.testing.assert_close(logits.grad, exact.grad)
