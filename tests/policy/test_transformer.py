"""One model code path: what a policy computes does not depend on its company."""

from dataclasses import replace

import pytest
import torch

from harness.policy.score import score
from harness.policy.transformer import Transformer, parameter_count
from harness.seeding import keys
from tests.toys import tiny


@pytest.fixture(params=[False, True], ids=["plain", "qk_norm"])
def model(request):
    return replace(tiny().model, layers=2, qk_norm=request.param)


def policy_of(model, *seeds, precision="fp32"):
    return Transformer(model, len(seeds), precision).initialise(keys("init", seeds, 0))


def random_ids(*shape, seed=0):
    return torch.randint(16, 112, shape, generator=torch.Generator().manual_seed(seed))


def test_stacked_policies_compute_what_each_computes_alone(model):
    ids = random_ids(3, 4, 9)
    stacked = policy_of(model, 5, 6, 7)
    for s, seed in enumerate((5, 6, 7)):
        alone = policy_of(model, seed)
        torch.testing.assert_close(stacked(ids)[s], alone(ids[s : s + 1])[0], rtol=1e-5, atol=1e-5)
        for a, b in zip(stacked.parameters(), alone.parameters()):
            assert torch.equal(a[s], b[0])


def test_gradients_of_stacked_policies_do_not_mix(model):
    stacked, ids = policy_of(model, 5, 6), random_ids(2, 4, 9)
    stacked(ids)[0].square().sum().backward()
    alone = policy_of(model, 5)
    alone(ids[:1]).square().sum().backward()
    for a, b in zip(stacked.parameters(), alone.parameters()):
        torch.testing.assert_close(a.grad[0], b.grad[0], rtol=1e-4, atol=1e-4)
        assert (a.grad[1] == 0).all()


def test_later_tokens_change_nothing_before_them(model):
    policy, ids = policy_of(model, 0), random_ids(1, 2, 9)
    changed = ids.clone()
    changed[..., 6:] = random_ids(1, 2, 3, seed=1)
    assert torch.equal(policy(ids)[:, :, :6], policy(changed)[:, :, :6])
    assert not torch.equal(policy(ids)[:, :, 6:], policy(changed)[:, :, 6:])


def test_a_row_in_a_padded_batch_scores_as_it_does_alone(model):
    policy = policy_of(model, 0)
    rows = [random_ids(1, 1, length, seed=length) for length in (3, 7, 12)]
    batch = torch.cat([torch.nn.functional.pad(row, (0, 12 - row.shape[-1])) for row in rows], dim=1)
    together = score(policy, batch, 1.0)
    for i, row in enumerate(rows):
        alone = score(policy, row, 1.0)
        torch.testing.assert_close(together[:, i : i + 1, : row.shape[-1]], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 5, 16])
def test_the_size_of_a_batch_does_not_change_log_probs(model, size):
    policy, ids = policy_of(model, 0), random_ids(1, 16, 9)
    pieces = torch.cat([score(policy, piece, 1.0) for piece in ids.split(size, dim=1)], dim=1)
    torch.testing.assert_close(pieces, score(policy, ids, 1.0), rtol=0, atol=1e-5)


def test_logits_and_log_probs_are_float32_also_in_bf16(model):
    ids = random_ids(1, 4, 9)
    exact, low = policy_of(model, 0)(ids), policy_of(model, 0, precision="bf16")(ids)
    assert exact.dtype == low.dtype == torch.float32
    assert 0 < (exact - low).abs().max() < 0.5
    # Rounded to bfloat16, logits of this size would stand on a grid 2**-8 of their size apart.
    assert not torch.equal(low, low.bfloat16().float())


def test_nothing_is_dropped_while_scoring(model):
    policy, ids = policy_of(model, 0), random_ids(1, 4, 9)
    assert torch.equal(policy.train()(ids), policy.eval()(ids))
    assert torch.equal(policy.train()(ids), policy.train()(ids))


def test_gradients_are_those_of_finite_differences(model):
    """The norm's backward is written by hand."""
    policy, ids = policy_of(model, 0).double(), random_ids(1, 2, 5)
    objective = lambda: score(policy, ids, 1.0).square().sum()  # noqa: E731
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
