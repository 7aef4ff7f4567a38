"""Pretraining documents and their loss."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from envs import Problem, get
from envs.base import Correctness
from envs.splits import split_of
from harness.core.errors import UserError
from harness.core.seeding import Key
from harness.policy.backends import eager
from harness.policy.tokenizer import ANSWER, BOS, ENV, EOS, TURN, decode
from harness.run.mixture import training_mixture
from harness.train import pretrain
from harness.train.algorithms import flops_per_token
from harness.train.pretrain import (
    continued_step,
    corpus_of,
    document,
    documents_of_tokens,
    expected_rl_tokens,
    pretrain_step,
    update,
)
from tests.policy.conftest import BACKENDS, backend_named, needs_compiler
from tests.toys import tiny, toy_state
from tests.train.toy_rollouts import documents, parts


def test_a_document_is_prompt_and_answer_in_the_frame_of_an_episode():
    for held in documents(20):
        assert (held[0], held[-1]) == (BOS, EOS)
        assert parts(held)[1:] == (None, "A")


def test_the_corpus_holds_training_contents_alone():
    for held in documents(400):
        prompt, *_ = parts(held)
        content = prompt.removeprefix("Say ").rstrip(".=")
        assert split_of(Problem("", "", "", 1, f"toy:{content}")) == "train"


def test_the_weights_of_contexts_are_the_exposure():
    worded, symbolic = documents(2000), documents(300, "base.contexts.worded=0")
    assert np.mean([parts(held)[0].startswith("Say") for held in worded]) == pytest.approx(0.25, abs=0.04)
    assert not any(parts(held)[0].startswith("Say") for held in symbolic)


def test_the_share_of_wrong_answers_is_as_configured():
    settings = ("base.tasks=[addition.symbolic]", "base.contexts.worded=0", "base.difficulties=[3]")
    docs = documents(2000, *settings, wrong=0.3, seed=1)
    right = [str(sum(map(int, p.rstrip("=").split("+")))) == a for p, _, a in map(parts, docs)]
    assert 1 - np.mean(right) == pytest.approx(0.3, abs=0.04)
    assert {len(answer) for _, _, answer in map(parts, docs)} == {3, 4}  # a wrong one is of the same difficulty


def test_the_loss_is_the_mean_of_next_token_losses_over_real_tokens():
    state, docs = toy_state(0), documents(7)
    by_hand = 0.0
    for held in docs:
        ids = torch.from_numpy(held)
        logprobs = state.policy(ids[None, None, :-1])[0, 0].log_softmax(-1)
        by_hand -= logprobs.gather(-1, ids[1:, None]).sum().item()
    loss = update(state, [docs], tiny().base.optim, 0.0)["loss"]
    assert loss.item() == pytest.approx(by_hand / sum(len(d) - 1 for d in docs), rel=1e-5)


def base_state(base, *seeds):
    return toy_state(*seeds, optim=base.optim)


@pytest.fixture
def small_batches(monkeypatch):
    """Few tokens go through a forward pass together, on every backend."""
    monkeypatch.setitem(eager.DOCUMENT_TOKENS, "cpu", 40)
    monkeypatch.setattr("harness.policy.backends.native.PASS_TOKENS", 40)


@pytest.mark.parametrize("name", BACKENDS)
def test_batches_change_the_gradient_by_no_more_than_rounding(name, request):
    corpus, gradients, losses = documents(30), [], []
    for limited in (False, True):
        if limited:
            request.getfixturevalue("small_batches")
        state = replace(toy_state(0), backend=backend_named(name))
        losses.append(update(state, [corpus], replace(tiny().base.optim, grad_clip=1e9), 0.0)["loss"])
        gradients.append([w.grad for w in state.policy.parameters()])
    torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-5)
    for whole, summed in zip(*gradients):
        torch.testing.assert_close(whole, summed, rtol=1e-5, atol=1e-5)


@needs_compiler
def test_no_bit_of_a_base_depends_on_how_many_threads_share_its_calls(small_batches):
    base, found = tiny().base, []
    for threads in (1, 3):
        state = replace(base_state(base, 3), backend=backend_named("native"))
        with state.backend.num_threads(threads):
            for _ in range(3):
                pretrain_step(base, state, corpus_of(base))
        found.append(list(state.policy.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(*found))


@needs_compiler
def test_packed_documents_lie_one_after_the_other_with_nothing_between_them():
    corpora = [[np.array([1, 20, 3]), np.array([4, 5])], [np.array([6, 7])]]
    (packed,) = backend_named("native").document_batches(toy_state(0, 1).policy, corpora)
    assert packed.ids.tolist() == [[1, 20, 4], [6, 0, 0]]
    assert packed.target.tolist() == [[20, 3, 5], [7, -1, -1]]
    assert packed.spans.rows.tolist() == [[[0, 0, 0, 2], [0, 0, 2, 3]], [[0, 0, 0, 1], [0, 0, 1, 1]]]
    assert packed.spans.position.tolist() == [[0, 1, 0], [0, 0, 0]]
    assert packed.denominator.tolist() == [3, 1]


def test_stacked_bases_are_pretrained_as_separate_ones(small_batches):
    base = tiny("base.documents=10").base
    mixture = corpus_of(base)
    together = base_state(base, 3, 8)
    reports = [pretrain_step(base, together, mixture) for _ in range(3)]
    for s, seed in enumerate((3, 8)):
        alone = base_state(base, seed)
        own = [pretrain_step(base, alone, mixture) for _ in range(3)]
        for a, b in zip(reports, own):
            torch.testing.assert_close(a.metrics["loss"][s], b.metrics["loss"][0], rtol=1e-4, atol=1e-5)
        for x, y in zip(together.policy.parameters(), alone.policy.parameters()):
            torch.testing.assert_close(x[s], y[0], rtol=0, atol=1e-3)


def test_pretraining_lowers_the_loss_and_counts_what_it_read():
    base = tiny("base.steps=30", "base.documents=32", "base.schedule.warmup=2").base
    state, corpus = base_state(base, 0), corpus_of(base)
    losses = [pretrain_step(base, state, corpus).metrics["loss"].item() for _ in range(30)]
    assert losses[-1] < losses[0] - 0.5
    assert state.spent[0].step == 30
    assert state.spent[0].completions == 30 * 32
    n = sum(w.numel() for w in state.policy.parameters()) - state.policy.embedding.numel()
    assert state.spent[0].flops == state.spent[0].flops_convention == 6.0 * n * state.spent[0].tokens


# ---- the arm that goes on pretraining


def continued(*settings, seeds=(0,), n=4):
    """State, reports and the documents of n steps."""
    config = tiny("objective=continued_pretraining", "rl.problems=16", *settings)
    state = toy_state(*seeds, optim=config.optim)
    mixture = training_mixture(config)
    reports = [continued_step(config, state, corpus_of(config.base), mixture) for _ in range(n)]
    return config, state, reports


@pytest.mark.parametrize("settings", [(), ("optim.epochs=2",), ("algo.kl=k3", "algo.kl_coefficient=0.1")])
def test_continued_pretraining_costs_what_rl_on_the_same_problems_costs(settings):
    """Its completions as long as the answers, which is what RL's are once the policy answers in form."""
    config, state, _ = continued(*settings, n=20)
    mixture = training_mixture(config)
    tokens = sum(expected_rl_tokens(mixture.draw(16, Key("problems", 0, s).generator()), 4) for s in range(20))
    n = sum(w.numel() for w in state.policy.parameters()) - state.policy.embedding.numel()
    assert state.step == 20
    assert state.spent[0].flops_convention == pytest.approx(flops_per_token(config) * n * tokens, rel=0.01)


def test_documents_worth_some_tokens_hold_them_to_within_a_document():
    corpus = corpus_of(tiny().base)
    for tokens in (1, 40, 999, 2000):
        found = documents_of_tokens(tokens, corpus, Key("continued", 0), label_noise=0.0)
        assert abs(sum(map(len, found)) - tokens) <= max(map(len, found), default=20)


def test_continued_pretraining_reads_no_document_of_its_base_again(monkeypatch):
    """Though run and base have the same seed: of the documents of a first step, few agree by chance."""
    read = []

    def recorded(state, corpora, *rest):
        read.append([d.tolist() for d in corpora[0]])
        return {}

    monkeypatch.setattr(pretrain, "update", recorded)
    config = tiny("base.documents=32", "base.difficulties=[2]")  # drawn as many at a time
    pretrain_step(config.base, toy_state(0), corpus_of(config.base))
    continued_step(config, toy_state(0), corpus_of(config.base), corpus_of(config.base))
    before, after = read
    assert sum(document in before for document in after) < len(after) / 4


def test_stacked_seeds_go_on_pretraining_as_separate_ones(small_batches):
    """Though they draw different numbers of documents."""
    _, together, _ = continued(seeds=(3, 8))
    for s, seed in enumerate((3, 8)):
        _, alone, _ = continued(seeds=(seed,))
        assert alone.spent[0].tokens == together.spent[s].tokens
        for x, y in zip(together.policy.parameters(), alone.policy.parameters()):
            torch.testing.assert_close(x[s], y[0], rtol=0, atol=1e-3)


# ---- documents of several turns


@pytest.mark.parametrize("scratchpad", [None, ""])
@pytest.mark.parametrize("name", ["store.symbolic", "calculator.worded", "spreadsheet.symbolic", "guess_number.worded"])
def test_a_document_of_a_tool_task_is_a_right_episode_as_a_rollout_holds_it(name, scratchpad):
    """Its completions, played, are answered as the document says, and are correct; where policies think, each of them
    opens with ANSWER."""
    task, rng = get(name), np.random.default_rng(0)
    for difficulty in task.difficulties:
        problem = task.draw(rng, difficulty)
        first, *turns = "".join(map(chr, document(problem, problem.answer, scratchpad))).split(chr(ENV))
        texts = [[decode([*map(ord, part)]) for part in turn.split(chr(TURN))] for turn in (first[1:], *turns)]
        assert texts[0][0] == problem.prompt
        opening = "" if scratchpad is None else decode([ANSWER])
        assert all(completion.startswith(opening) for _, completion in texts)
        completions = [completion.removeprefix(opening).removesuffix(decode([EOS])) for _, completion in texts]
        assert len(completions) <= task.max_turns
        for i, (shown, _) in enumerate(texts[1:], start=1):
            assert task.reply(problem, completions[:i]).text == shown
        assert task.reply(problem, completions).correctness == Correctness.CORRECT


def test_an_episode_that_may_not_fit_the_context_is_refused_before_pretraining():
    settings = ["base.tasks=[store.symbolic]", "base.contexts.worded=0", "base.difficulties=[10]"]
    with pytest.raises(UserError, match=r"a document of store\.symbolic may need 118 tokens"):
        tiny(*settings, "model.context=117")
    assert tiny(*settings, "model.context=118").model.context == 118
