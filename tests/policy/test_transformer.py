"""One model code path: what a policy computes does not depend on its company."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from harness.core.seeding import keys
from harness.policy.attention import attention_weights
from harness.policy.logprobs import token_logprobs
from harness.policy.transformer import Transformer, parameter_count
from harness.train.optim import make_optimizer, set_learning_rate
from tests.policy.conftest import backend_named, needs_compiler
from tests.toys import tiny

VARIANTS = {
    "plain": {},
    "qk_norm": {"qk_norm": True},
    "layernorm": {"norm": "layernorm"},
    "post": {"norm_position": "post", "qk_norm": True},
    "no norm": {"norm": "none", "init_std": 0.1},
    "muP": {"base_width": 8},
}


# Every variant on the reference backend, and those that are compiled there too.
CASES = [(variant, "eager") for variant in VARIANTS]
CASES += [pytest.param((variant, "native"), marks=needs_compiler) for variant in ("plain", "muP")]


@pytest.fixture(params=CASES, ids="-".join)
def case(request):
    return request.param


@pytest.fixture
def model(case):
    return replace(tiny().model, **{"layers": 2, **VARIANTS[case[0]]})


@pytest.fixture
def backend(case):
    return backend_named(case[1])


def logits_of(backend, policy, ids):
    return policy.logits(backend.hidden(policy, ids))


def policy_of(model, *seeds, precision="fp32"):
    return Transformer(model, len(seeds), precision).initialise(keys("init", seeds, 0))


def random_ids(*shape, seed=0):
    return torch.randint(16, 112, shape, generator=torch.Generator().manual_seed(seed))


def test_stacked_policies_compute_what_each_computes_alone(backend, model):
    ids = random_ids(3, 4, 9)
    stacked = policy_of(model, 5, 6, 7)
    for s, seed in enumerate((5, 6, 7)):
        alone = policy_of(model, seed)
        torch.testing.assert_close(
            logits_of(backend, stacked, ids)[s], logits_of(backend, alone, ids[s : s + 1])[0], rtol=1e-5, atol=1e-5
        )
        for a, b in zip(stacked.parameters(), alone.parameters()):
            assert torch.equal(a[s], b[0])


def test_gradients_of_stacked_policies_do_not_mix(backend, model):
    stacked, ids = policy_of(model, 5, 6), random_ids(2, 4, 9)
    logits_of(backend, stacked, ids)[0].square().sum().backward()
    alone = policy_of(model, 5)
    logits_of(backend, alone, ids[:1]).square().sum().backward()
    for a, b in zip(stacked.parameters(), alone.parameters()):
        torch.testing.assert_close(a.grad[0], b.grad[0], rtol=1e-4, atol=1e-4)
        assert (a.grad[1] == 0).all()


def test_later_tokens_change_nothing_before_them(backend, model):
    policy, ids = policy_of(model, 0), random_ids(1, 2, 9)
    changed = ids.clone()
    changed[..., 6:] = random_ids(1, 2, 3, seed=1)
    before, after = logits_of(backend, policy, ids), logits_of(backend, policy, changed)
    assert torch.equal(before[:, :, :6], after[:, :, :6])
    assert not torch.equal(before[:, :, 6:], after[:, :, 6:])


def test_a_row_in_a_padded_batch_has_the_log_probs_that_it_has_alone(backend, model):
    policy = policy_of(model, 0)
    rows = [random_ids(1, 1, length, seed=length) for length in (3, 7, 12)]
    batch = torch.cat([torch.nn.functional.pad(row, (0, 12 - row.shape[-1])) for row in rows], dim=1)
    together = backend.token_logprobs(policy, batch, 1.0)
    for i, row in enumerate(rows):
        alone = backend.token_logprobs(policy, row, 1.0)
        torch.testing.assert_close(together[:, i : i + 1, : row.shape[-1]], alone, rtol=0, atol=1e-5)


def test_rows_longer_than_the_context_are_refused(backend, model):
    """Beyond it there are no rotations."""
    policy = policy_of(model, 0)
    backend.hidden(policy, random_ids(1, 1, model.context))
    with pytest.raises(IndexError, match=r"tokens in a context of|a position outside the context"):
        backend.hidden(policy, random_ids(1, 1, model.context + 1))


def test_logits_and_log_probs_are_float32_also_in_bf16(model):
    ids = random_ids(1, 4, 9)
    exact, low = policy_of(model, 0)(ids), policy_of(model, 0, precision="bf16")(ids)
    assert exact.dtype == low.dtype == torch.float32
    assert 0 < (exact - low).abs().max() < 0.5
    # Rounded to bfloat16, logits of this size would stand on a grid 2**-8 of their size apart.
    assert not torch.equal(low, low.bfloat16().float())


def test_gradients_are_those_of_finite_differences(model):
    """The norm's backward is written by hand."""
    policy, ids = policy_of(model, 0).double(), random_ids(1, 2, 5)

    def objective():
        return token_logprobs(policy, ids, 1.0).square().sum()

    objective().backward()
    for name, weight in policy.named_parameters():
        direction = torch.randn(weight.shape, dtype=weight.dtype, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            weight += 1e-5 * direction
            up = objective()
            weight -= 2e-5 * direction
            down = objective()
            weight += 1e-5 * direction
        slope = (up - down).item() / 2e-5
        assert (weight.grad * direction).sum().item() == pytest.approx(slope, rel=1e-5, abs=1e-6), name


def test_the_parameter_count_is_what_is_there(model):
    weights = sum(weight.numel() for weight in policy_of(model, 0).parameters())
    assert parameter_count(model) == weights
    assert parameter_count(model, embedding=False) == weights - 112 * model.width


def test_norms_are_what_they_say():
    """RMSNorm: mean square 1. LayerNorm: mean 0 besides. None: neither."""
    model, ids = replace(tiny().model, layers=2), random_ids(1, 2, 9)
    for norm, square, centred in (("rmsnorm", True, False), ("layernorm", True, True), ("none", False, False)):
        x = policy_of(replace(model, norm=norm), 0).hidden(ids)  # what the head reads, before its gain
        assert ((x.square().mean(-1) - 1).abs().max() < 1e-3) == square
        assert (x.mean(-1).abs().max() < 1e-5) == centred


def test_a_post_norm_block_hands_on_a_normalised_stream_and_a_pre_norm_block_the_sum():
    model = replace(tiny().model, layers=1)
    x = torch.randn(1, 3, 16, generator=torch.Generator().manual_seed(0)) * 5

    def nothing(qkv, layer):
        return torch.zeros(1, 3, 16)

    for position in ("pre", "post"):
        block = policy_of(replace(model, norm_position=position), 0).blocks[0]
        with torch.no_grad():
            block.down.zero_()
            out = block(x, nothing, 0, block.weights(torch.float32))
        expected = x if position == "pre" else x * x.square().mean(-1, keepdim=True).rsqrt()
        torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-4)


# ---- muP: what a step does to the policy does not depend on its width


def changes(width, base_width, steps=4):
    """Root mean square of what a few steps of Adam change in the last block's stream and in the logits."""
    model = replace(tiny().model, layers=2, width=width, heads=width // 16, mlp=2 * width, init_std=0.1)
    policy, ids = policy_of(replace(model, base_width=base_width), 0, 1, 2), random_ids(3, 8, 12)
    streams = []
    policy.blocks[-1].register_forward_hook(lambda module, given, out: streams.append(out.detach()))
    optimizer = make_optimizer(policy, tiny().optim)
    set_learning_rate(optimizer, 4e-3)
    before = policy(ids).detach()
    for _ in range(steps):
        policy.zero_grad()
        token_logprobs(policy, ids, 1.0)[..., 1:].mean().neg().backward()
        optimizer.step()
    after = policy(ids).detach()
    return [x.square().mean().sqrt().item() for x in (streams[-1] - streams[0], after - before)]


def test_under_mup_updates_are_as_large_at_any_width_and_without_it_they_grow():
    """The coordinate check of arXiv 2203.03466, appendix D.1, over a fourfold width. Logits shrink a little: what is
    left of the initial function, which muP lets vanish, changes less and less."""
    with_it, without = (np.array([changes(width, base) for width in (64, 128, 256)]) for base in (64, None))
    stream, logits = with_it.max(0) / with_it.min(0)
    assert stream < 1.1, with_it
    assert logits < 1.6, with_it
    stream, logits = without[2] / without[0]
    assert stream > 5, without
    assert logits > 2, without


def test_mup_at_its_base_width_is_the_plain_parametrisation():
    model = replace(tiny().model, layers=2)
    plain, mup = policy_of(model, 0), policy_of(replace(model, base_width=model.width), 0)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), mup.parameters()))
    assert {mup.lr_factor(name) for name, _ in mup.named_parameters()} == {1.0}


# ---- attention


@pytest.mark.parametrize("width", [1, 3, 15, 16, 17])
def test_weights_of_rows_of_any_width_are_their_softmax(width):
    """Short rows are filled up, which must change nothing."""
    scores = torch.randn(5, 4, width, generator=torch.Generator().manual_seed(0))
    scores[:, :, : width // 3] = -torch.inf
    expected = scores.softmax(-1)
    for parts in ((scores,), scores.split((width - width // 2, width // 2), dim=-1)):
        weights = attention_weights(parts, torch.float32)
        torch.testing.assert_close(weights[..., :width], expected, rtol=0, atol=1e-6)
        assert (weights[..., width:] == 0).all()
