"""The sampler draws from exactly the distribution that the trainer computes, whatever the batch."""

import numpy as np
import pytest
import torch
from scipy import stats

from harness.core.seeding import Key, uniforms
from harness.core.types import GroupedCompletions, SampleRequest, StopReason
from harness.policy.backends import native
from harness.policy.sampler import draw
from harness.policy.tokenizer import ANSWER, EOS
from harness.policy.transformer import Transformer
from tests.toys import toy_state

eager_only = pytest.mark.parametrize("backend", ["eager"], indirect=True)
TOKENS = 6
PROMPTS = torch.tensor([[1, 40, 50, 60, 3], [1, 70, 3, 0, 0], [1, 30, 31, 3, 0]])
LENGTHS = torch.tensor([5, 3, 4])
KEYS = (Key("sampling", 0),)


def eager_to_stop(*seeds, bias=2.0, ids=(EOS,)):
    """A policy that draws these ids more often, and so stops now and then: rows of all lengths."""
    policy = toy_state(*seeds).policy
    with torch.no_grad():
        policy.head[:, :, ids] += 0.3 * bias
    return policy


def uniforms_of(key, rows, room=TOKENS):
    return uniforms((key,), torch.arange(rows), torch.arange(room))[0]


def request_of(prompts, length, uniforms, group_size=1, max_tokens=TOKENS, temperature=1.0, thinking=None, active=None):
    """A request of every row, unless some are active."""
    active = torch.ones(uniforms.shape[:2], dtype=torch.bool) if active is None else active
    return SampleRequest(prompts, length, uniforms, active, group_size, max_tokens, temperature, thinking)


def drawn(policy, group_size=4, temperature=1.0, keys=KEYS, *, backend, thinking=None, active=None):
    """Completions of PROMPTS, by each policy of a stack."""
    room = TOKENS if thinking is None else thinking + 1 + TOKENS
    u = torch.stack([uniforms_of(key, len(PROMPTS) * group_size, room) for key in keys])
    prompts, lengths = PROMPTS.expand(policy.seeds, -1, -1), LENGTHS.expand(policy.seeds, -1)
    request = request_of(prompts, lengths, u, group_size, TOKENS, temperature, thinking, active)
    return backend.sample(policy, request)


def assert_same_samples(ours, theirs):
    for name in ("ids", "sampled", "length", "stop_reason"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
    torch.testing.assert_close(ours.logprobs, theirs.logprobs, rtol=1e-5, atol=1e-5)


def completion_logprobs(backend, policy, prompts, length, completions, mask, temperature):
    grouped = GroupedCompletions(prompts, length, completions, mask)
    return backend.completion_logprobs(policy, grouped, temperature)[0]


def whole_rows(out, group_size):
    """prompt + completion without a gap, and the mask of drawn tokens, [S, R, T]."""
    s, rows, width = *out.ids.shape[:2], PROMPTS.shape[1] + out.ids.shape[-1]
    ids, mask = torch.zeros(s, rows, width, dtype=torch.int64), torch.zeros(s, rows, width, dtype=torch.bool)
    for i in range(s):
        for r in range(rows):
            n, c = int(LENGTHS[r // group_size]), int(out.length[i, r])
            ids[i, r, :n], ids[i, r, n : n + c] = PROMPTS[r // group_size, :n], out.ids[i, r, :c]
            mask[i, r, n : n + c] = True
    return ids, mask


@pytest.mark.parametrize(
    ("group", "temperature"), [(4, 0.5), (4, 1.0), (4, 1.7), (1, 1.0), (3, 1.0), (11, 1.0), (20, 1.0), (32, 1.0)]
)
def test_decoding_with_a_cache_gives_the_log_probs_of_the_full_forward_at_this_temperature(backend, group, temperature):
    """In bundles of 4, 1, 3, 1, 5 and 8 rows, each of which sees its own tokens alone."""
    policy = eager_to_stop(0)
    out = drawn(policy, group, temperature, backend=backend)
    ids, mask = whole_rows(out, group)
    found = out.logprobs[torch.arange(TOKENS) < out.length[..., None]]
    of_rows, hotter = (backend.token_logprobs(policy, ids, t)[mask] for t in (temperature, 2 * temperature))
    torch.testing.assert_close(of_rows, found, rtol=0, atol=1e-5)
    assert not torch.allclose(hotter, found, atol=1e-2)


def test_the_shared_prompt_forward_and_its_gradient_equal_those_of_whole_rows(backend, monkeypatch):
    """Also where a token in the midst of a completion was not drawn; nothing is computed of padding."""
    policy, computed = eager_to_stop(0, 1), []

    def counting(function, position):
        def counted(*arguments):
            computed.append(arguments[position].shape[1])
            return function(*arguments)

        return counted

    monkeypatch.setattr(policy, "flat_hidden", counting(policy.flat_hidden, 0))
    monkeypatch.setattr(native, "token_logprobs", counting(native.token_logprobs, 1))
    out = drawn(policy, keys=(Key("sampling", 0), Key("sampling", 1)), backend=backend)
    ids, whole = whole_rows(out, 4)
    column = torch.arange(TOKENS)
    inside = (column < out.length[..., None]) & (column != 1)
    whole &= torch.arange(whole.shape[-1]) != LENGTHS.repeat_interleave(4)[:, None] + 1
    given = (PROMPTS.expand(2, -1, -1), LENGTHS.expand(2, -1), out.ids, inside, 1.3)
    shared = completion_logprobs(backend, policy, *given)
    assert (shared[~inside] == 0).all()
    needed = torch.where(out.length == 2, 1, out.length)  # of a row of two only the first is asked for
    if backend.name != "cuda_graphs":  # there shapes are fixed
        assert computed[-1] == int((LENGTHS - 1).sum() + needed.sum(1).max())
    plain = backend.token_logprobs(policy, ids, 1.3)
    torch.testing.assert_close(shared[inside], plain[whole], rtol=0, atol=1e-5)
    gradients = [torch.autograd.grad(x.square().sum(), list(policy.parameters())) for x in (shared, plain[whole])]
    for ours, theirs in zip(*gradients):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)


@eager_only
@pytest.mark.parametrize("on_gpu", [False, True])
def test_in_bf16_the_trainer_computes_the_log_probs_of_the_sampler(backend, on_gpu, monkeypatch):
    """Attention in float32, as on a CPU, or in bfloat16, as on a GPU; shapes are rounded up to few different ones."""
    if on_gpu:
        monkeypatch.setattr(Transformer, "attention_dtype", Transformer.product_dtype)
    monkeypatch.setattr("harness.policy.logprobs.BF16_SHAPE_MULTIPLE", 8)
    policy, seen = eager_to_stop(0), []
    policy.precision = "bf16"
    out = drawn(policy, backend=backend)
    assert policy.attention_dtype == (torch.bfloat16 if on_gpu else torch.float32)
    policy.blocks[0].register_forward_hook(lambda module, given, out: seen.append(out.shape[1]))
    inside = torch.arange(TOKENS) < out.length[..., None]
    shared = completion_logprobs(backend, policy, PROMPTS[None], LENGTHS[None], out.ids, inside, 1.0)
    assert seen[-1] % 8 == 0
    assert (shared - out.logprobs)[inside].abs().max() < 0.05
    policy.precision = "fp32"
    exact = completion_logprobs(backend, policy, PROMPTS[None], LENGTHS[None], out.ids, inside, 1.0)
    assert 0 < (shared - exact)[inside].abs().max() < 0.2
    ids, whole = whole_rows(out, 4)
    torch.testing.assert_close(exact[inside], backend.token_logprobs(policy, ids, 1.0)[whole], rtol=0, atol=1e-5)


def test_where_all_tokens_are_real_nothing_is_packed_and_the_log_probs_are_the_same(backend, monkeypatch):
    policy = eager_to_stop(0)
    prompts, length = PROMPTS[None, :2, :3], torch.full((1, 2), 3)
    completions = torch.randint(20, 60, (1, 8, 5), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(completions, dtype=torch.bool)
    whole = completion_logprobs(backend, policy, prompts, length, completions, mask, 1.0)
    rows = torch.cat((prompts.repeat_interleave(4, dim=1), completions), dim=-1)
    torch.testing.assert_close(whole, backend.token_logprobs(policy, rows, 1.0)[..., 3:], rtol=0, atol=1e-5)
    shorter = completion_logprobs(backend, policy, prompts, length, completions, mask & (torch.arange(5) < 4), 1.0)
    torch.testing.assert_close(whole[..., :4], shorter[..., :4], rtol=0, atol=1e-5)


def test_draws_follow_the_softmax_distribution():
    logits = torch.tensor([2.0, -1.0, 0.5, -30.0, 1.0, -2.0]) * 0.7
    n, temperature = 40_000, 0.7
    u = uniforms((Key("sampling", 1),), torch.arange(n), torch.zeros(1, dtype=torch.int64))[0, :, 0]
    ids, logprobs = draw(logits.expand(n, -1), u, temperature)
    expected_share = (logits / temperature).softmax(-1)
    counts = torch.bincount(ids, minlength=6).numpy()
    assert counts[3] == 0
    seen = np.delete(np.arange(6), 3)
    expected = expected_share.double().numpy()[seen]
    assert stats.chisquare(counts[seen], n * expected / expected.sum()).pvalue > 0.01
    torch.testing.assert_close(logprobs, expected_share.log()[ids])


def test_the_most_extreme_uniforms_draw_only_what_has_probability():
    logits = torch.full((2, 112), -torch.inf)
    logits[:, [17, 90]] = 0.0
    ids, _ = draw(logits, torch.tensor([2.0**-24, 1 - 2.0**-24]), 1.0)
    assert ids.tolist() == [17, 90]


def test_first_tokens_of_a_whole_group_follow_the_policys_distribution(backend):
    """End to end: the distribution after prefill, over 4,000 completions of one prompt."""
    policy, n = toy_state(0).policy, 4000
    u = uniforms((Key("sampling", 2),), torch.arange(n), torch.arange(1))
    ids = backend.sample(policy, request_of(PROMPTS[None, :1], LENGTHS[None, :1], u, n, 1)).ids.flatten()
    expected_share = policy(PROMPTS[None, :1])[0, 0, -1].softmax(-1).detach().double().numpy()
    common = expected_share * n > 8
    counts = np.bincount(ids.numpy(), minlength=112)
    observed, expected = (
        [*counts[common], counts[~common].sum()],
        [*expected_share[common], expected_share[~common].sum()],
    )
    assert stats.chisquare(observed, n * np.array(expected) / sum(expected)).pvalue > 0.01


def test_the_sampled_eos_belongs_to_the_completion_and_ends_it(backend):
    out = drawn(eager_to_stop(0, bias=6.0), group_size=16, backend=backend)
    stopped = out.stop_reason == int(StopReason.STOP)
    assert 0 < stopped.float().mean() < 1
    last = out.ids.gather(-1, out.length[..., None] - 1)[..., 0]
    assert (last[stopped] == EOS).all()
    assert (out.logprobs.gather(-1, out.length[..., None] - 1)[..., 0] < 0).all()
    assert (out.length[~stopped] == TOKENS).all()
    beyond = torch.arange(TOKENS) >= out.length[..., None]
    assert (out.ids[beyond] == 0).all()
    assert (out.logprobs[beyond] == 0).all()
    assert ((out.ids == EOS).sum(-1) == stopped).all()


def test_a_prompt_among_others_is_answered_as_it_is_alone(backend):
    """Right padding and the company of longer prompts change no token."""
    policy, group = eager_to_stop(0), 4
    together = drawn(policy, group, backend=backend)
    u = uniforms_of(Key("sampling", 0), len(PROMPTS) * group)
    for i, n in enumerate(LENGTHS.tolist()):
        rows = slice(i * group, (i + 1) * group)
        prompt, length = PROMPTS[None, i : i + 1, :n], LENGTHS[None, i : i + 1]
        alone = backend.sample(policy, request_of(prompt, length, u[None, rows], group))
        assert torch.equal(alone.ids[0], together.ids[0, rows])
        torch.testing.assert_close(alone.logprobs[0], together.logprobs[0, rows], rtol=0, atol=1e-5)


@pytest.mark.parametrize("thinking", [None, 2])
def test_stacked_policies_draw_what_each_draws_alone(backend, thinking):
    policy_of, keys = thinker if thinking else eager_to_stop, (Key("sampling", 5), Key("sampling", 6))
    together = drawn(policy_of(5, 6), keys=keys, thinking=thinking, backend=backend)
    for s, key in enumerate(keys):
        alone = drawn(policy_of(key.seed), keys=(key,), thinking=thinking, backend=backend)
        assert torch.equal(alone.ids[0], together.ids[s])
        assert torch.equal(alone.sampled[0], together.sampled[s])
        torch.testing.assert_close(alone.logprobs[0], together.logprobs[s], rtol=0, atol=1e-5)


def test_a_row_that_may_not_answer_can_be_as_long_as_the_context(backend):
    """It stays among the others until enough have ended."""
    policy = eager_to_stop(0)
    longest = policy.config.context
    prompts = torch.full((1, 6, longest), 40)
    length = torch.tensor([[3] * 5 + [longest]])
    u = uniforms_of(KEYS[0], 6)[None]
    active = torch.arange(6)[None] < 5
    out = backend.sample(policy, request_of(prompts, length, u, active=active))
    alone = backend.sample(policy, request_of(prompts[:, :5, :3], length[:, :5], u[:, :5]))
    assert torch.equal(out.ids[:, :5], alone.ids)
    assert (out.length[:, 5] == 0).all()


@pytest.mark.parametrize("thinking", [None, 2])
def test_rows_that_are_not_active_draw_nothing_and_disturb_nobody(backend, thinking):
    policy = eager_to_stop(0)
    active = torch.arange(12).remainder(3) > 0
    some, every = (drawn(policy, thinking=thinking, **rows, backend=backend) for rows in ({"active": active[None]}, {}))
    assert torch.equal(some.ids[0, active], every.ids[0, active])
    assert (some.length[0, ~active] == 0).all()
    assert (some.ids[0, ~active] == 0).all()
    assert not some.sampled[0, ~active].any()


def recording_width(decode, widths):
    def recorded(ids, *rest):
        widths.append(ids.shape[1])
        return decode(ids, *rest)

    return recorded


@eager_only
@pytest.mark.parametrize("thinking", [None, 3])
def test_groups_that_have_ended_leave_the_batch_and_no_token_changes(backend, thinking, monkeypatch):
    """Against a batch that keeps all its rows to the end; each seed loses other groups."""
    prompts, length, group, out, widths = PROMPTS.repeat(1, 4, 1), LENGTHS.repeat(4)[None], 2, {}, {}
    room = TOKENS + (0 if thinking is None else thinking + 1)
    u = torch.stack([uniforms_of(Key("sampling", seed), 12 * group, room) for seed in (5, 6)])
    for share in (0.0, 1.0):
        monkeypatch.setattr("harness.policy.sampler.COMPACTION_SHARE", share)
        policy, widths[share] = thinker(5, 6, bias=8.0) if thinking else eager_to_stop(5, 6, bias=10.0), []
        policy.decode = recording_width(policy.decode, widths[share])
        several = prompts.expand(2, -1, -1), length.expand(2, -1)
        out[share] = backend.sample(policy, request_of(*several, u, group, thinking=thinking))
    assert widths[0.0] == [24] * (room - 1)
    assert widths[1.0][0] > widths[1.0][-1] > 0
    assert_same_samples(out[0.0], out[1.0])


# ---- thinking


def thinker(*seeds, bias=0.8):
    """A policy that begins its answer, or stops, now and then."""
    return eager_to_stop(*seeds, bias=bias, ids=(ANSWER, EOS))


@pytest.mark.parametrize("thinking", [0, 1, 3, 8])
def test_the_answer_is_begun_at_the_end_of_the_budget_by_whoever_has_not_begun_it(backend, thinking):
    out = drawn(thinker(0), group_size=32, thinking=thinking, backend=backend)
    assert (out.sampled.sum(-1) < out.length).any()
    for ids, by_policy, logprobs, n in zip(out.ids[0], out.sampled[0], out.logprobs[0], out.length[0].tolist()):
        begun = ids[:n].tolist().index(ANSWER) if ANSWER in ids[:n] else None
        assert begun is not None or ids[n - 1] == EOS  # or it stopped before
        assert (begun or 0) <= thinking
        forced = [] if begun != thinking else [begun]
        assert (~by_policy[:n]).nonzero().flatten().tolist() == forced
        assert not by_policy[n:].any()
        assert (logprobs[by_policy] < 0).all()
        assert (logprobs[~by_policy] == 0).all()


def test_whenever_the_answer_begins_it_has_its_own_room(backend):
    out = drawn(thinker(0), group_size=64, thinking=4, backend=backend)
    begun = (out.ids == ANSWER).float().argmax(-1)
    answered = (out.ids == ANSWER).any(-1)
    after = (out.length - begun - 1)[answered]
    cut = (out.stop_reason == int(StopReason.LENGTH))[answered]
    assert after.max() == TOKENS
    assert (after[cut] == TOKENS).all()
    assert {0, 1, 2, 3, 4} == set(begun[answered & (out.stop_reason == int(StopReason.LENGTH))].tolist())


@pytest.mark.parametrize("temperature", [1.0, 1.7])
def test_tokens_that_a_thinking_policy_draws_have_the_log_probs_of_the_full_forward(backend, temperature):
    """After a forced token too."""
    policy = thinker(0)
    out = drawn(policy, temperature=temperature, thinking=2, backend=backend)
    ids, mask = whole_rows(out, 4)
    inside = torch.arange(out.ids.shape[-1]) < out.length[..., None]
    scored = backend.token_logprobs(policy, ids, temperature)[mask]
    by_policy = out.sampled[inside]
    assert not by_policy.all()
    torch.testing.assert_close(scored[by_policy], out.logprobs[inside][by_policy], rtol=0, atol=1e-5)


def test_a_longer_budget_begins_with_the_same_tokens(backend):
    short, long = (drawn(thinker(0), group_size=16, thinking=n, backend=backend) for n in (2, 6))
    assert torch.equal(short.ids[..., :2], long.ids[..., :2])
    assert not torch.equal(short.ids[..., :3], long.ids[..., :3])
