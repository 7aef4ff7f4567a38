"""Every backend computes what the eager one does."""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.core.errors import UserError
from harness.core.seeding import keys
from harness.core.types import GroupedCompletions
from harness.policy.backends import eager, native
from harness.policy.backends.backend import choose_backend
from harness.policy.backends.eager import EagerBackend, PaddedDocuments
from harness.policy.tokenizer import ANSWER, EOS
from tests.policy.conftest import BACKENDS, backend_named, needs_compiler
from tests.policy.test_sampler import LENGTHS, PROMPTS, TOKENS, assert_same_samples, drawn, eager_to_stop, thinker
from tests.toys import tiny, toy_state

EAGER = EagerBackend()
CPU = torch.device("cpu")
NOT_EAGER = BACKENDS[1:]


def gradients_of(policy, values):
    """Of a sum with weights at random: that of the squares of normalised hidden states would be constant."""
    weights = torch.rand(values.shape, generator=torch.Generator().manual_seed(0))
    return torch.autograd.grad((values * weights).sum(), list(policy.parameters()), materialize_grads=True)


def assert_close(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * max(1.0, b.abs().max().item()))


def grouped_completions(policy):
    """Completions of all lengths, in which some tokens were not drawn."""
    out = drawn(policy, keys=keys("sampling", range(policy.seeds), 0), backend=EAGER)
    column = torch.arange(TOKENS)
    mask = (column < out.length[..., None]) & (column != 1)
    prompts, length = PROMPTS.expand(policy.seeds, -1, -1), LENGTHS.expand(policy.seeds, -1)
    return GroupedCompletions(prompts, length, out.ids, mask)


# ---- sampling


@pytest.mark.parametrize("seeds", [(0,), (3, 5)], ids=["alone", "stacked"])
@pytest.mark.parametrize("thinking", [None, 3])
@pytest.mark.parametrize("inactive", [False, True])
def test_every_backend_samples_the_tokens_of_the_eager_one(backend, seeds, thinking, inactive):
    """Also where the weights have changed since the last call, which a recording must notice, and with nearly uniform
    and nearly deterministic distributions."""
    policy = thinker(*seeds) if thinking else eager_to_stop(*seeds)
    active = (torch.arange(12).remainder(5) > 0).expand(len(seeds), -1) if inactive else None
    lengths = set()
    for step, scale in enumerate((1, 1, 0.1, 10, 20)):
        with torch.no_grad():
            policy.head[:, :, [EOS, ANSWER]] += 0.3
            policy.head *= scale
        streams = keys("sampling", seeds, step)
        ours, theirs = (
            drawn(policy, 4, 0.8, streams, backend=one, thinking=thinking, active=active) for one in (backend, EAGER)
        )
        assert_same_samples(ours, theirs)
        lengths |= set(ours.length.flatten().tolist())
    assert len(lengths) > 3


# ---- log-probabilities and hidden states


@pytest.mark.parametrize("seeds", [(0,), (3, 5)], ids=["alone", "stacked"])
def test_hidden_states_and_log_probs_of_rows_are_those_of_the_eager_backend(backend, seeds):
    policy, grouped = eager_to_stop(*seeds), grouped_completions(eager_to_stop(*seeds))
    ids = torch.cat((grouped.prompts[:, :2].repeat(1, 6, 1), grouped.completions), dim=-1)
    results = []
    for one in (backend, EAGER):
        hidden, logprobs = one.hidden(policy, ids), one.token_logprobs(policy, ids, 0.9)
        assert (logprobs[..., 0] == 0).all()
        results.append([hidden, logprobs, *gradients_of(policy, hidden), *gradients_of(policy, logprobs)])
    assert_close(*results)


@pytest.mark.parametrize("seeds", [(0,), (3, 5)], ids=["alone", "stacked"])
@pytest.mark.parametrize("with_entropy", [False, True])
def test_log_probs_of_completions_are_those_of_the_eager_backend(backend, seeds, with_entropy):
    policy = eager_to_stop(*seeds)
    grouped, results = grouped_completions(policy), []
    for one in (backend, EAGER):
        logprobs, entropy = one.completion_logprobs(policy, grouped, 0.9, with_entropy)
        assert (logprobs[~grouped.mask] == 0).all()
        assert (entropy is not None) == with_entropy
        total = [logprobs] if entropy is None else [logprobs, entropy * grouped.mask]
        results.append([*total, *gradients_of(policy, torch.cat(total))])
    assert_close(*results)


def test_hidden_states_of_completions_are_those_of_the_eager_backend(backend):
    """Where the mask asks for them."""
    policy = eager_to_stop(3, 5)
    grouped, results = grouped_completions(policy), []
    for one in (backend, EAGER):
        hidden = one.completion_hidden(policy, grouped) * grouped.mask[..., None]
        results.append([hidden, *gradients_of(policy, hidden)])
    assert_close(*results)


# ---- documents


def random_corpora(lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [[rng.integers(16, 112, n) for n in of_seed] for of_seed in lengths]


def loss_and_gradients(backend, policy, corpora):
    """Summed over batches."""
    batches = backend.document_batches(policy, corpora)
    loss = torch.stack([torch.zeros(policy.seeds), *(backend.document_loss(policy, one) for one in batches)]).sum(0)
    return (loss, *torch.autograd.grad(loss.sum(), list(policy.parameters()))) if batches else (loss,)


@pytest.mark.parametrize("name", NOT_EAGER)
@settings(deadline=None, max_examples=40)
@given(lengths=st.lists(st.lists(st.integers(1, 40), max_size=6), min_size=1, max_size=3), seed=st.integers(0, 9))
def test_the_loss_of_documents_and_its_gradient_are_those_of_the_eager_backend(name, lengths, seed):
    """Of documents of any lengths, of which a seed may have none."""
    corpora, policy = random_corpora(lengths, seed), toy_state(*range(len(lengths))).policy
    results = [loss_and_gradients(one, policy, corpora) for one in (backend_named(name), EAGER)]
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.fixture
def tokens_of_a_pass(monkeypatch):
    """Sets how many tokens go through a forward pass together, on every backend."""

    def limit(tokens):
        monkeypatch.setitem(eager.DOCUMENT_TOKENS, "cpu", tokens)
        monkeypatch.setitem(eager.UPDATE_TOKENS, "cpu", tokens)
        monkeypatch.setattr("harness.policy.backends.native.PASS_TOKENS", tokens)

    return limit


def documents_in(batch, seed):
    """The documents of a batch, [N]; those of one token are left out."""
    if isinstance(batch, PaddedDocuments):
        rows = zip(batch.ids[seed], batch.mask[seed])
        return [tuple(ids[mask].tolist()) for ids, mask in rows if mask.sum() > 1]
    spans = [(start, end) for *_, start, end in batch.spans.rows[seed].tolist() if end > start]
    return [(*batch.ids[seed, start:end].tolist(), batch.target[seed, end - 1].item()) for start, end in spans]


def test_batches_hold_every_document_once_and_count_all_predicted_tokens(backend, tokens_of_a_pass):
    rng = np.random.default_rng(0)
    corpora = random_corpora([rng.integers(2, 12, n).tolist() for n in (40, 33)])
    policy = toy_state(0, 1).policy
    assert backend.document_batches(policy, [[], []]) == []
    for tokens, counts in ((10**6, [1]), (60, range(3, 20)), (1, [40])):
        tokens_of_a_pass(tokens)
        batches = backend.document_batches(policy, corpora)
        assert len(batches) in counts
        for i, corpus in enumerate(corpora):
            held = Counter(document for batch in batches for document in documents_in(batch, i))
            assert held == Counter(tuple(document.tolist()) for document in corpus)
            for batch in batches:
                assert batch.denominator[i] == sum(len(document) - 1 for document in corpus)
                if backend.name == "eager":  # rows of like length: little is padding
                    length = batch.mask[i].sum(-1)
                    assert (length > 0).sum() * length.max() <= max(tokens, 11)


# ---- micro-batches


def toy_batch(groups):
    from tests.train.test_rl import batches

    (batch,) = batches(toy_state(0), keep_zero=True, dtype=torch.float32)
    return batch.select_groups(slice(0, groups))


def real_groups(parts):
    """Prompts of the groups that are trained on, in order."""
    prompts = []
    for part in parts:
        trained = part.mask.unflatten(1, (part.n_groups, -1)).flatten(2).any(-1)[0]
        rows = zip(part.prompts[0, trained], part.prompt_length[0, trained].tolist())
        prompts += [tuple(ids[:n].tolist()) for ids, n in rows]
    return prompts


@pytest.mark.parametrize("groups", [0, 1, 2, 4])
def test_microbatches_hold_all_groups_in_order(backend, groups, tokens_of_a_pass):
    policy = toy_state(0).policy
    for count in (1, 4, 5, 6):
        batch = toy_batch(count)
        for tokens in (1, 100, 10**6):
            tokens_of_a_pass(tokens)
            parts = backend.microbatches(policy, batch, groups)
            assert len(real_groups(parts)) > 0 or count == 1
            assert real_groups(parts) == real_groups([batch])
            assert all(torch.equal(part.denominator, batch.denominator) for part in parts)
            assert sum(part.mask.sum() for part in parts) == batch.mask.sum()
            if groups:
                assert all(part.n_groups <= groups for part in parts)
                assert all(part.n_groups == groups for part in parts[:-1])


def test_a_batch_without_groups_has_no_microbatches(backend):
    batch, policy = toy_batch(0), toy_state(0).policy
    assert backend.microbatches(policy, batch, 0) == backend.microbatches(policy, batch, 2) == []


@pytest.mark.parametrize("name", ["eager", pytest.param("native", marks=needs_compiler)])
def test_a_batch_is_cut_into_even_parts_only_where_memory_needs_it(name, tokens_of_a_pass):
    batch, policy, backend = toy_batch(6), toy_state(0).policy, backend_named(name)

    def sizes():
        return [part.n_groups for part in backend.microbatches(policy, batch, 0)]

    assert sizes() == [6]
    tokens = batch.prompts[0].numel() + batch.completions[0].numel()
    tokens_of_a_pass(tokens // 3 + 1)
    assert sizes() == [2] * 3
    tokens_of_a_pass(1)
    assert sizes() == [1] * 6
    assert [part.n_groups for part in backend.microbatches(policy, batch, 4)] == [4, 2]


# ---- gradients


@dataclass(frozen=True)
class Inputs:
    x: Tensor


def test_gradients_computes_the_function_of_its_inputs_each_time(backend):
    """Whatever became of the weights, and however the outputs are nested."""
    policy = eager_to_stop(0)

    def function(inputs):
        loss = (policy.head * inputs.x).square().sum()
        return {"loss": loss.detach()}, torch.autograd.grad(loss, [policy.head])

    for step in range(4):
        with torch.no_grad():
            policy.head.add_(0.1)
        x = torch.tensor(float(step))
        metrics, (gradient,) = backend.gradients(policy, "key", function, Inputs(x))
        torch.testing.assert_close(metrics["loss"], (policy.head.detach() * x).square().sum())
        torch.testing.assert_close(gradient, 2 * policy.head.detach() * x**2)


# ---- threads


@needs_compiler
@pytest.mark.parametrize("algorithm", ["rloo", "ppo"])
def test_no_bit_of_a_native_step_depends_on_the_number_of_threads(algorithm):
    from tests.train.test_rl import steps

    config, backend, results = tiny("rl.problems=8", f"algo={algorithm}", "backend=native"), backend_named("native"), []
    for threads in (1, 2, 3):
        with backend.num_threads(threads):
            _, (weights,), reports = steps(config, 3, 0)
        results.append((weights, [{k: v.tolist() for k, v in report.metrics.items()} for report in reports]))
    (alone, metrics), *others = results
    for weights, same in others:
        assert same == metrics
        assert all(torch.equal(a, b) for a, b in zip(alone, weights, strict=True))


@pytest.mark.parametrize("name", ["eager", "cuda_graphs"])
def test_other_backends_leave_pytorchs_threads_alone(name):
    before = torch.get_num_threads()
    with backend_named(name).num_threads(7):
        assert torch.get_num_threads() == before


# ---- the choice


def test_auto_chooses_the_compiled_backend_on_a_cpu_and_the_eager_one_where_it_is_unsupported(monkeypatch):
    model = tiny().model
    if native.library() is not None:
        backend, reason = choose_backend("auto", model, "fp32", CPU)
        assert (backend.name, reason) == ("native", "the fastest that supports this policy")
    backend, reason = choose_backend("auto", replace(model, norm="layernorm"), "fp32", CPU)
    assert (backend.name, reason) == ("eager", native.unsupported_reason(replace(model, norm="layernorm"), "fp32"))
    monkeypatch.setattr(native, "library", lambda: None)
    monkeypatch.setattr(native, native.missing_reason.__name__, lambda: "no C compiler (cc)")
    backend, reason = choose_backend("auto", model, "fp32", CPU)
    assert (backend.name, reason) == ("eager", "no C compiler (cc)")


def test_auto_chooses_cuda_graphs_for_small_policies_on_a_gpu_and_the_eager_backend_for_others():
    cuda, model = torch.device("cuda"), tiny().model
    assert choose_backend("auto", model, "fp32", cuda)[0].name == "cuda_graphs"
    large = replace(model, layers=12, width=768, mlp=2304)
    backend, reason = choose_backend("auto", large, "fp32", cuda)
    assert backend.name == "eager"
    assert "below 10,000,000 parameters" in reason


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_that_is_named_is_chosen(name):
    device = torch.device("cuda") if name == "cuda_graphs" else CPU
    backend, reason = choose_backend(name, tiny().model, "fp32", device)
    assert (backend.name, reason) == (name, "as configured")


@pytest.mark.parametrize(
    ("name", "changes", "device", "reason"),
    [
        ("native", {"norm": "layernorm"}, "cpu", "only model.norm=rmsnorm model.norm_position=pre"),
        ("native", {"norm": "none"}, "cpu", "only model.norm=rmsnorm model.norm_position=pre"),
        ("native", {"norm_position": "post"}, "cpu", "only model.norm=rmsnorm model.norm_position=pre"),
        ("native", {"qk_norm": True}, "cpu", "model.qk_norm=false is compiled"),
        ("native", {"width": 24}, "cpu", "only model.width in multiples of 16 and model.mlp of 16 is compiled"),
        ("native", {"mlp": 40}, "cpu", "only model.width in multiples of 16 and model.mlp of 16 is compiled"),
        ("native", {}, "cuda", "it runs on CPUs"),
        ("cuda_graphs", {}, "cpu", "it needs a CUDA device"),
        ("cuda_graphs", {"width": 768, "layers": 12, "mlp": 2304}, "cuda", "it is for policies below 10,000,000"),
    ],
)
def test_a_backend_that_does_not_support_the_policy_is_refused_with_the_reason(name, changes, device, reason):
    model = replace(tiny().model, **changes)
    with pytest.raises(UserError, match=f"backend={name}: .*{reason}") as error:
        choose_backend(name, model, "fp32", torch.device(device))
    assert "choose backend=auto" in str(error.value)


@pytest.mark.parametrize("name", ["eager", "cuda_graphs"])
@pytest.mark.parametrize(
    "changes",
    [{"norm": "layernorm"}, {"norm": "none"}, {"norm_position": "post"}, {"qk_norm": True}, {"width": 24}, {"mlp": 40}],
)
def test_the_other_backends_support_policies_of_every_kind(name, changes):
    policy = toy_state(0, model=replace(tiny().model, **changes)).policy
    assert backend_named(name).token_logprobs(policy, PROMPTS[None], 1.0).isfinite().all()
    assert drawn(policy, backend=backend_named(name)).logprobs.isfinite().all()
