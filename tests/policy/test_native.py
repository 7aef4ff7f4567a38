"""The compiled path equals the plain one, and gives way to it where it cannot be had."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from harness.policy import native
from harness.policy.native import Spans
from harness.policy.sampler import draw
from harness.policy.score import score_completions
from tests.policy.conftest import needs_compiler
from tests.policy.test_sampler import LENGTHS, PROMPTS, TOKENS, drawn, eager_to_stop

few = settings(deadline=None, max_examples=40)


def numbers(*shape, seed=0, scale=1.0):
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale).requires_grad_()


def assert_same(ours, theirs, *given, atol=1e-5):
    """Values, and gradients under weights that tell their elements apart."""
    results = [function(*given) for function in (ours, theirs)]
    torch.testing.assert_close(*results, rtol=1e-5, atol=atol)
    weights = numbers(*results[0].shape, seed=9).detach()
    gradients = [torch.autograd.grad((x * weights).sum(), given) for x in results]
    for a, b in zip(*gradients):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=atol)


@needs_compiler
@few
@given(n=st.integers(1, 9), width=st.integers(1, 70), scale=st.sampled_from([1e-4, 1.0, 50.0]))
def test_norm_and_swiglu_and_their_gradients_are_those_of_pytorch(n, width, scale):
    x = numbers(2, n, width, scale=scale)
    assert_same(native.rms_norm, lambda x: x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt(), x, atol=1e-4)
    both = numbers(2, n, 2 * width, scale=scale)
    assert_same(native.swiglu, lambda x: F.silu(x[..., :width]) * x[..., width:], both, atol=1e-5 * max(1, scale**2))


def by_hand(qkv, rows, position, cos, sin):
    """Attention of each token in float64: over its context and its row up to itself."""
    s, n, _, h, d = qkv.shape
    flat = qkv.double().flatten(0, 1)
    c, t = cos.double()[position][:, None, None], sin.double()[position][:, None, None]
    turned = flat[:, :2] * c + flat[:, :2].roll(d // 2, -1) * t
    out = torch.zeros(s * n, h, d, dtype=torch.float64)
    for context_start, context_end, start, end in rows.tolist():
        for i in range(start, end):
            seen = [*range(context_start, context_end), *range(start, i + 1)]
            weights = (torch.einsum("hd,jhd->hj", turned[i, 0], turned[seen, 1]) / d**0.5).softmax(-1)
            out[i] = torch.einsum("hj,jhd->hd", weights, flat[seen, 2])
    return out.view(s, n, h * d).float()


@needs_compiler
@few
@given(
    prompts=st.lists(st.integers(1, 20), min_size=1, max_size=3),
    group=st.integers(1, 3),
    longest=st.integers(0, 19),
    heads=st.integers(1, 3),
    half=st.sampled_from([1, 4, 8, 12, 16, 20]),
    filled_up=st.integers(0, 2),
    seeds=st.integers(1, 2),
)
def test_attention_over_prompts_and_their_completions_is_what_it_says(
    prompts, group, longest, heads, half, filled_up, seeds
):
    """Any number of keys and any width of a head, full vectors or not; tokens of no row get 0."""
    length = torch.tensor([prompts] * seeds)
    completions = torch.arange(seeds * len(prompts) * group).view(seeds, -1) % (longest + 1)
    tokens = int((length.sum(1) + completions.sum(1)).max()) + filled_up
    generator = torch.Generator().manual_seed(0)
    position = torch.randint(0, 40, (seeds, tokens), generator=generator)
    cos, sin = torch.randn(2, 40, 2 * half, generator=generator)
    attention = native.completions_after_prompts(length, completions, tokens, position, cos, sin)
    qkv = numbers(seeds, tokens, 3, heads, 2 * half)
    theirs = lambda qkv: by_hand(qkv, attention.rows, position.flatten(), cos, sin)  # noqa: E731
    assert_same(lambda qkv: attention(qkv, 0), theirs, qkv, atol=1e-4)


@needs_compiler
def test_rows_of_equal_length_see_themselves_alone():
    cos, sin = torch.ones(5, 4), torch.zeros(5, 4)
    attention = native.rows_of_equal_length(3, 5, cos, sin)
    assert attention == Spans(attention.rows, attention.position, cos, sin)
    assert attention.rows.tolist() == [[0, 0, 0, 5], [0, 0, 5, 10], [0, 0, 10, 15]]
    assert attention.position.tolist() == [0, 1, 2, 3, 4] * 3


@needs_compiler
@pytest.mark.parametrize("thinking", [None, 2])
def test_a_policy_draws_the_same_completions_on_both_paths(thinking):
    policy = eager_to_stop(0)
    ours = drawn(policy, 6, thinking=thinking)
    with native.plain():
        theirs = drawn(policy, 6, thinking=thinking)
    assert torch.equal(ours.ids, theirs.ids)
    assert torch.equal(ours.stop_reason, theirs.stop_reason)
    torch.testing.assert_close(ours.logprobs, theirs.logprobs, rtol=0, atol=1e-5)


@needs_compiler
def test_log_probs_and_gradients_of_completions_are_the_same_on_both_paths():
    policy = eager_to_stop(0)
    out = drawn(policy)
    inside = torch.arange(TOKENS) < out.length[..., None]
    found = []
    for path in (nullcontext(), native.plain()):
        with path:
            logprobs = score_completions(policy, PROMPTS[None], LENGTHS[None], out.ids, inside, 1.0)
            found.append((logprobs, *torch.autograd.grad(logprobs.square().sum(), list(policy.parameters()))))
    for ours, theirs in zip(*found):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@needs_compiler
def test_in_bfloat16_results_are_those_of_float32_rounded_once():
    """Products read and give bfloat16; between them nothing is rounded."""
    x, both, qkv = numbers(1, 7, 24), numbers(1, 7, 48, seed=1), numbers(1, 7, 3, 2, 12, seed=2)
    cos, sin = torch.randn(2, 7, 12, generator=torch.Generator().manual_seed(3))
    attention = native.completions_after_prompts(
        torch.tensor([[3]]), torch.tensor([[2, 2]]), 7, torch.arange(7)[None], cos, sin
    )
    low, up = lambda x: x.detach().bfloat16().requires_grad_(), lambda x: x.detach().float().requires_grad_()
    assert torch.equal(native.rms_norm(x, torch.bfloat16), native.rms_norm(x).bfloat16())
    for function, numbers_in in ((native.swiglu, both), (lambda x: attention(x, 0), qkv)):
        rounded = low(numbers_in)
        exact = up(rounded)
        out, whole = function(rounded), function(exact)
        assert out.dtype == torch.bfloat16
        assert torch.equal(out, whole.bfloat16())
        back = numbers(*out.shape, seed=4).detach().bfloat16()
        (ours,), (theirs,) = torch.autograd.grad(out, rounded, back), torch.autograd.grad(whole, exact, back.float())
        assert ours.dtype == torch.bfloat16
        # Attention's gradient reads its own rounded output.
        torch.testing.assert_close(ours.float(), theirs, rtol=2e-2, atol=2e-2)
    back = numbers(1, 7, 24, seed=5).detach().bfloat16()
    (ours,) = torch.autograd.grad(native.rms_norm(x, torch.bfloat16), x, back)
    (theirs,) = torch.autograd.grad(native.rms_norm(x), x, back.float())
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, theirs, rtol=2e-2, atol=2e-2)


@needs_compiler
@pytest.mark.parametrize("scale", [0.1, 3.0, 60.0])
def test_draws_and_their_log_probs_are_the_same_on_both_paths(scale):
    logits = numbers(500, 112, scale=scale).detach()
    uniform = torch.rand(500, generator=torch.Generator().manual_seed(1))
    ours = draw(logits, uniform, 0.8)
    with native.plain():
        theirs = draw(logits, uniform, 0.8)
    assert torch.equal(ours[0], theirs[0])
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-5, atol=1e-5)


@needs_compiler
def test_what_is_not_a_number_stays_so():
    """A broken policy must be seen (`check_finite`), not drawn from in silence."""
    nan = torch.full((1, 4, 32), torch.nan)
    assert native.rms_norm(nan).isnan().all()
    assert native.swiglu(nan).isnan().all()
    assert draw(nan, torch.rand(1, 4), 1.0)[1].isnan().all()
    assert (
        native.rows_of_equal_length(1, 4, torch.ones(4, 4), torch.zeros(4, 4))(
            torch.full((1, 4, 3, 2, 4), torch.nan), 0
        )
        .isnan()
        .all()
    )
    one = torch.zeros(1, 4, 112)
    one[..., 50] = torch.nan
    assert draw(one, torch.rand(1, 4), 1.0)[1].isnan().all()


def test_numbers_of_other_kinds_take_the_plain_path():
    assert not native.serves(torch.ones(1, dtype=torch.float64))
    assert not native.serves(torch.ones(1, dtype=torch.float16))
    with native.plain():
        assert not native.serves(torch.ones(1))


ASK = "import torch; from harness.policy import native; print(native.serves(torch.ones(1)), native.missing())"


def served(**environment):
    """Why the compiled path does not serve; "" where it does."""
    ran = subprocess.run(
        [sys.executable, "-c", ASK], env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    serves, _, reason = ran.stdout.strip().partition(" ")
    assert (serves == "True") == (reason == "")
    return reason


def test_without_a_compiler_or_by_request_the_plain_path_does_the_work(tmp_path):
    broken = tmp_path / "cc"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    cache = str(tmp_path / "cache")
    assert served(RL_SCALING_NATIVE="0") == "RL_SCALING_NATIVE=0"
    assert served(CC="no-such-compiler") == "no C compiler (no-such-compiler)"
    assert served(CC=str(broken), XDG_CACHE_HOME=cache, TMPDIR=str(tmp_path)).startswith(f"{broken} cannot compile")


@needs_compiler
def test_processes_that_compile_at_once_all_get_the_whole_library(tmp_path):
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: served(XDG_CACHE_HOME=str(tmp_path)), range(2)))
    assert found == [""] * 2
    assert len(list((tmp_path / "rl-scaling").iterdir())) == 1  # and leave nothing else behind


@needs_compiler
def test_a_cache_that_cannot_be_written_is_done_without(tmp_path):
    (tmp_path / "rl-scaling").write_text("a file where the folder would be")
    assert served(XDG_CACHE_HOME=str(tmp_path), TMPDIR=str(tmp_path)) == ""


@needs_compiler
def test_a_compiler_may_be_given_with_options(tmp_path):
    assert served(CC="cc -g", XDG_CACHE_HOME=str(tmp_path)) == ""


@needs_compiler
def test_draws_take_any_layout_and_kind_of_numbers():
    logits, uniform = numbers(4, 3, 32).detach(), torch.rand(3, 4, generator=torch.Generator().manual_seed(0))
    expected = draw(logits, uniform.T.contiguous(), 1.0)
    for a, b in zip(draw(logits, uniform.T, 1.0), expected):
        assert torch.equal(a, b)
    assert torch.equal(draw(logits.bfloat16(), uniform.T, 1.0)[0], draw(logits.bfloat16().float(), uniform.T, 1.0)[0])
