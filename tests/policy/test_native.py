"""The compiled path equals the eager one, and refuses what it does not support."""

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.seeding import keys
from harness.policy.backends import native
from harness.policy.backends.eager import EagerBackend
from harness.policy.backends.native import NativeBackend
from harness.policy.backends.native.layout import equal_rows, layout_completions
from harness.policy.transformer import Transformer
from tests.policy.conftest import needs_compiler
from tests.policy.test_sampler import (
    LENGTHS,
    PROMPTS,
    TOKENS,
    completion_logprobs,
    drawn,
    eager_to_stop,
    request_of,
)
from tests.toys import tiny

few = settings(deadline=None, max_examples=40)
needs_amx = pytest.mark.skipif(native.library() is None or not native.has_amx(), reason="no AMX")
NATIVE, EAGER = NativeBackend(), EagerBackend()


def policy_of(seeds=1, precision="fp32", **changes):
    """Untrained, with gains that are not 1."""
    model = replace(tiny().model, **changes)
    policy = Transformer(model, seeds, precision).initialise(keys("init", range(seeds), 0))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if name.endswith("norm"):
                weight.mul_(1 + torch.rand(weight.shape, generator=generator))
    return policy


def gradients(policy, logprobs):
    return torch.autograd.grad(logprobs.square().sum(), list(policy.parameters()))


shapes = st.fixed_dictionaries(
    {
        "layers": st.integers(1, 2),
        "heads": st.sampled_from([1, 2, 4]),
        "width": st.sampled_from([16, 32, 48, 64, 80, 112]),  # so that products end in panels of every width
        "mlp": st.sampled_from([16, 48, 80]),
    }
)


@needs_compiler
@few
@given(
    shape=shapes,
    seeds=st.integers(1, 2),
    prompts=st.lists(st.integers(2, 20), min_size=1, max_size=3),
    group=st.integers(1, 3),
    longest=st.integers(1, 30),
)
def test_log_probs_and_gradients_equal_the_eager_paths(shape, seeds, prompts, group, longest):
    """Completions of any length after prompts of any length, and whole rows."""
    policy, generator = policy_of(seeds, init_std=0.1, **shape), torch.Generator().manual_seed(0)
    length = torch.tensor([prompts] * seeds)
    ids = torch.randint(16, 112, (seeds, len(prompts), max(prompts)), generator=generator)
    completions = torch.randint(16, 112, (seeds, len(prompts) * group, longest), generator=generator)
    ends = torch.randint(0, longest + 1, completions.shape[:2], generator=generator)
    mask = torch.arange(longest) < ends[..., None]
    found = []
    for backend in (NATIVE, EAGER):
        of_completions = completion_logprobs(backend, policy, ids, length, completions, mask, 0.9)
        logprobs = (of_completions, backend.token_logprobs(policy, completions, 0.9))
        found.append((*logprobs, *(grad for x in logprobs for grad in gradients(policy, x))))
    for ours, theirs in zip(*found):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * max(1.0, theirs.abs().max().item()))


@needs_compiler
def test_equal_rows_attend_to_themselves_alone():
    spans = equal_rows(2, 3, 5)
    assert spans.rows.tolist() == [[[0, 0, 0, 5], [0, 0, 5, 10], [0, 0, 10, 15]]] * 2
    assert spans.position.tolist() == [[0, 1, 2, 3, 4] * 3] * 2


@needs_compiler
def test_completions_attend_to_their_prompt_and_only_masked_tokens_are_laid_out():
    prompts, length = torch.tensor([[[1, 20, 3], [1, 3, 0]]]), torch.tensor([[3, 2]])
    completions = torch.tensor([[[31, 32], [33, 34], [35, 36], [37, 38]]])
    mask = torch.tensor([[[1, 0], [0, 0], [0, 1], [1, 1]]]).bool()
    layout = layout_completions(prompts, length, completions, mask)
    assert layout.ids.tolist() == [[1, 20, 1, 3, 3, 35, 3, 37]]
    assert layout.spans.position.tolist() == [[0, 1, 0, 2, 1, 2, 1, 2]]
    assert layout.target.tolist() == [[-1, -1, -1, 31, -1, 36, 37, 38]]
    rows = [[0, 0, 0, 2], [0, 0, 2, 3], [0, 2, 3, 4], [0, 2, 4, 4], [2, 3, 4, 6], [2, 3, 6, 8]]
    assert layout.spans.rows.tolist() == [rows]
    scattered = layout.scatter(layout.ids.float()[..., None], completions)
    assert scattered[..., 0].tolist() == [[[3, 0], [0, 0], [3, 35], [3, 37]]]


@needs_compiler
@pytest.mark.parametrize("length", [[3, 0], [4, 2], [3, -1]])
def test_empty_prompts_and_prompts_longer_than_their_array_are_refused(length):
    prompts, completions = torch.tensor([[[1, 20, 3], [1, 3, 0]]]), torch.full((1, 4, 2), 31)
    with pytest.raises(IndexError, match=rf"prompts of {min(length)} to {max(length)} tokens in 3 places"):
        layout_completions(prompts, torch.tensor([length]), completions, torch.ones(1, 4, 2).bool())


@needs_compiler
def test_arguments_may_have_any_memory_layout():
    policy, generator = eager_to_stop(0), torch.Generator().manual_seed(0)
    u = torch.rand((TOKENS, 12, 1), generator=generator).double().permute(2, 1, 0)
    prompts, length = PROMPTS.T.contiguous().T[None], LENGTHS[None].expand(1, -1)
    ours = NATIVE.sample(policy, request_of(prompts, length, u, 4))
    plain = NATIVE.sample(policy, request_of(PROMPTS[None], LENGTHS[None], u.float().contiguous(), 4))
    assert torch.equal(ours.ids, plain.ids)


@needs_amx
@pytest.mark.parametrize("shape", [{"width": 32, "mlp": 48}, {"width": 96, "mlp": 112, "heads": 4, "layers": 2}])
def test_bfloat16_results_equal_float32_up_to_rounding(shape):
    """At most 1.5 times as far from them as the eager path in bfloat16."""
    ids = torch.randint(16, 112, (2, 5, 30), generator=torch.Generator().manual_seed(0))

    def of(precision, backend):
        policy = policy_of(2, precision, init_std=0.1, **shape)
        logprobs = backend.token_logprobs(policy, ids, 1.0)
        assert logprobs.dtype == torch.float32
        return torch.cat([x.flatten() for x in (logprobs, *gradients(policy, logprobs))])

    exact, ours, theirs = of("fp32", EAGER), of("bf16", NATIVE), of("bf16", EAGER)
    away, allowed = (x.sub(exact).norm() / exact.norm() for x in (ours, theirs))
    assert 0 < away < 1.5 * allowed < 0.1


@needs_amx
def test_bfloat16_log_probs_of_trainer_and_sampler_agree():
    policy = policy_of(1, "bf16", width=32, mlp=48)
    out = drawn(policy, 6, backend=NATIVE)
    mask = torch.arange(TOKENS) < out.length[..., None]
    scored = completion_logprobs(NATIVE, policy, PROMPTS[None], LENGTHS[None], out.ids, mask, 1.0)
    torch.testing.assert_close(scored, out.logprobs, rtol=0, atol=1e-6)


@needs_compiler
def test_results_do_not_depend_on_the_batch():
    """To the bit: sampling and updates may be split into any micro-batches."""
    policy = eager_to_stop(0)
    u = torch.rand((1, 12, TOKENS), generator=torch.Generator().manual_seed(0))
    whole = NATIVE.sample(policy, request_of(PROMPTS[None], LENGTHS[None], u, 4))
    for p in range(3):
        rows = slice(4 * p, 4 * p + 4)
        part = NATIVE.sample(policy, request_of(PROMPTS[None, p : p + 1], LENGTHS[None, p : p + 1], u[:, rows], 4))
        assert torch.equal(part.logprobs, whole.logprobs[:, rows])


@needs_compiler
def test_invalid_tokens_and_shapes_are_refused_and_all_integer_types_accepted():
    policy, context = eager_to_stop(0), tiny().model.context
    good = torch.full((1, 1, 5), 40)
    whole = (good[:, :, :3], torch.tensor([[3]]), good, torch.ones_like(good).bool(), 1.0)
    for ids in (good.where(good != 40, 112), good - 41, torch.full((1, 1, context + 2), 40)):
        with pytest.raises(IndexError, match="context"):
            NATIVE.token_logprobs(policy, ids, 1.0)
    for place, wrong in ((0, good[:, :, :3] + 80), (2, good + 80), (2, torch.full((1, 1, context), 40))):
        given = [*whole]
        given[place] = wrong
        given[3] = torch.ones_like(given[2]).bool()
        with pytest.raises(IndexError, match="context"):
            completion_logprobs(NATIVE, policy, *given)
    for length in (0, 4):
        with pytest.raises(IndexError, match="prompt without a token"):
            NATIVE.sample(policy, request_of(whole[0], torch.tensor([[length]]), torch.rand(1, 1, TOKENS)))
    for rows in (1, 3):
        with pytest.raises(ValueError, match="uniforms"):
            NATIVE.sample(policy, request_of(*whole[:2], torch.rand(1, rows, TOKENS), 2))
    with pytest.raises(ValueError, match="completions"):
        completion_logprobs(
            NATIVE, policy, good.expand(1, 2, 5), torch.tensor([[3, 3]]), good.expand(1, 3, 5), good > 0, 1.0
        )
    with pytest.raises(ValueError, match="2 policies"):
        NATIVE.token_logprobs(eager_to_stop(0, 1), good, 1.0)
    assert torch.equal(NATIVE.token_logprobs(policy, good.int(), 1.0), NATIVE.token_logprobs(policy, good, 1.0))
    small = (whole[0].int(), whole[1].int(), good.int(), torch.ones_like(good).int(), 1.0)
    assert torch.equal(completion_logprobs(NATIVE, policy, *small), completion_logprobs(NATIVE, policy, *whole))


@needs_compiler
def test_the_log_prob_of_a_nearly_certain_token_keeps_its_digits():
    policy = eager_to_stop(0)
    with torch.no_grad():
        policy.head *= 200
    ids = torch.randint(16, 112, (1, 8, 12), generator=torch.Generator().manual_seed(0))
    best = policy(ids)[:, :, -1].argmax(-1)
    ids = torch.cat((ids, best[..., None]), dim=-1)
    ours = NATIVE.token_logprobs(policy, ids, 1.0)[..., -1]
    exact = copy.deepcopy(policy).double()(ids[..., :-1])[:, :, -1].log_softmax(-1).amax(-1)
    torch.testing.assert_close(ours.double(), exact, rtol=1e-2, atol=1e-12)


@needs_compiler
@pytest.mark.parametrize("name", ["embedding", "head", "blocks.0.qkv", "blocks.0.down"])
def test_nan_weights_give_nan(name):
    """So that `check_finite` sees a broken policy."""
    policy = eager_to_stop(0)
    with torch.no_grad():
        policy.get_parameter(name)[0].fill_(torch.nan)
    assert drawn(policy, backend=NATIVE).logprobs[..., 0].isnan().all()
    assert NATIVE.token_logprobs(policy, PROMPTS[None], 1.0)[..., 1:].isnan().all()


@needs_compiler
def test_unsupported_precisions_are_refused():
    policy = eager_to_stop(0).double()
    with pytest.raises(ValueError, match=r"weights in torch\.float64"):
        NATIVE.token_logprobs(policy, PROMPTS[None], 1.0)
    assert "multiples of 32" in native.unsupported_reason(policy_of(width=48).config, "bf16")
