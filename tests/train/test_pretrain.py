"""Pretraining documents and their loss."""

import numpy as np
import pytest
import torch

from envs import get
from envs.splits import split_of
from harness.policy.tokenizer import BOS, EOS, TURN, decode
from harness.seeding import Key
from harness.train.optim import make_optimizer
from harness.train.pretrain import corpus_of, draw_documents, padded, pretrain, pretrain_step, token_losses
from harness.train.state import TrainState
from tests.toys import tiny, toy_state


def documents(n=400, wrong=0.0, *overrides):
    base = tiny(*overrides).base
    return draw_documents(corpus_of(base), n, wrong, Key("documents", 0).generator())


def parts(document):
    ids = document.tolist()
    turn = ids.index(TURN)
    return decode(ids[1:turn]), decode(ids[turn + 1 : -1])


def test_a_document_is_prompt_and_answer_in_the_frame_of_an_episode():
    for document in documents(20):
        assert (document[0], document[-1]) == (BOS, EOS)
        assert parts(document)[1] == "A"


def test_the_corpus_holds_training_contents_alone():
    from envs import Problem

    for document in documents():
        prompt, _ = parts(document)
        content = prompt.removeprefix("Say ").rstrip(".=")
        assert split_of(Problem("", "", "", 1, f"toy:{content}")) == "train"


def test_the_weights_of_contexts_are_the_exposure():
    worded = lambda docs: np.mean([parts(d)[0].startswith("Say") for d in docs])  # noqa: E731
    assert worded(documents(2000)) == pytest.approx(0.25, abs=0.04)
    assert worded(documents(300, 0.0, "base.contexts.worded=0")) == 0


def test_the_share_of_wrong_answers_is_as_asked():
    base = tiny("base.tasks=[addition.symbolic]", "base.contexts.worded=0", "base.difficulties=[3]").base
    docs = draw_documents(corpus_of(base), 2000, 0.3, Key("documents", 1).generator())
    right = [str(sum(map(int, p.rstrip("=").split("+")))) == a for p, a in map(parts, docs)]
    assert 1 - np.mean(right) == pytest.approx(0.3, abs=0.04)


def test_the_loss_is_the_mean_of_next_token_losses_over_real_tokens():
    policy, docs = toy_state(0).policy, documents(7)
    total, count = token_losses(policy, *(x[None] for x in padded(docs)))
    by_hand = 0.0
    for document in docs:
        ids = torch.from_numpy(document)
        logprobs = policy(ids[None, None, :-1])[0, 0].log_softmax(-1)
        by_hand -= logprobs.gather(-1, ids[1:, None]).sum().item()
    assert total.item() == pytest.approx(by_hand, rel=1e-5)
    assert count.item() == sum(len(d) - 1 for d in docs)


def base_state(base, *seeds):
    policy = toy_state(*seeds).policy
    return TrainState(seeds, policy, make_optimizer(policy, base.optim))


def test_stacked_bases_are_pretrained_as_separate_ones():
    base = tiny("base.documents=10").base  # quarters of 3, 3, 3 and 1
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
    state, losses = base_state(base, 0), []
    pretrain(base, state, corpus_of(base), 30, lambda _, report: losses.append(report.metrics["loss"].item()))
    assert losses[-1] < losses[0] - 0.5
    assert state.spent[0].step == 30
    assert state.spent[0].completions == 30 * 32
    n = sum(w.numel() for w in state.policy.parameters()) - state.policy.embedding.numel()
    assert state.spent[0].flops == state.spent[0].flops_convention == 6.0 * n * state.spent[0].tokens


def test_a_wrong_answer_is_the_answer_of_another_problem_of_the_same_kind():
    from harness.train.pretrain import wrong_answer

    task, rng = get("addition.symbolic"), np.random.default_rng(0)
    problem = task.draw(rng, 3)
    assert all(len(wrong_answer(problem, rng)) in (3, 4) for _ in range(20))
