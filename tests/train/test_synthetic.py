"""Documents that an earlier base wrote: which of them the filter keeps, and what they are mixed with."""

import numpy as np
import pytest

from envs.base import Correctness
from harness.config.schema import SyntheticConfig
from harness.core.seeding import Key
from harness.policy.tokenizer import encode_completion
from harness.train import synthetic
from harness.train.pretrain import _drawn, corpus_of
from harness.train.synthetic import Teacher, kept, synthetic_documents
from tests.toy_task import verify
from tests.toys import tiny, toy_state
from tests.train.toy_rollouts import parts

KEY = Key("documents", 0)


def drawn(key=KEY, n=64, **options):
    """The documents of a step of generation 1, by an untrained policy, which is right about four times in ten."""
    settings = ",".join(f"{name}: {value}" for name, value in ({"generation": 1} | options).items())
    cfg = tiny(f"base.synthetic={{{settings}}}", f"base.documents={n}").base
    state = toy_state(key.seed)
    return _drawn(cfg, corpus_of(cfg), Teacher({key.seed: state.policy}, state.backend), key)


def share_right(documents):
    return np.mean([verify(None, parts(one)[2]) == Correctness.CORRECT for one in documents])


def test_without_a_filter_all_that_the_policy_wrote_is_read():
    assert 0.1 < share_right(drawn()) < 0.9


def test_the_verifier_keeps_right_completions_alone():
    documents = drawn(filter="verifier")
    assert len(documents) == 64
    assert share_right(documents) == 1
    assert len({parts(one)[0] for one in documents}) > 32  # fresh ones, not a few repeated


def test_a_verifier_that_errs_drops_right_ones_and_keeps_wrong_ones():
    correct = np.random.default_rng(0).random(20000) < 0.2
    keep = kept(SyntheticConfig(1, "verifier", 0.3), correct, np.random.default_rng(1))
    assert keep[correct].mean() == pytest.approx(0.7, abs=0.02)
    assert keep[~correct].mean() == pytest.approx(0.3, abs=0.02)
    assert np.array_equal(kept(SyntheticConfig(1, "verifier"), correct, np.random.default_rng(1)), correct)


def test_a_share_of_the_documents_stays_original():
    original = [one for one in drawn(original_share=0.25) if np.array_equal(one[-2:], encode_completion("A"))]
    # Right answers of the corpus are A. An untrained policy hardly ever writes just that.
    assert len(original) == pytest.approx(16, abs=2)


def test_each_generation_reads_other_prompts_than_the_one_before():
    first, second = (drawn(generation=g) for g in (1, 2))
    assert [parts(one)[0] for one in first] != [parts(one)[0] for one in second]
    again = drawn(generation=1)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


def test_a_later_generation_never_falls_back_to_the_corpus():
    cfg = tiny("base.synthetic={generation: 1}").base
    with pytest.raises(ValueError, match="teacher"):
        _drawn(cfg, corpus_of(cfg), None, KEY)


def test_what_the_filter_kept_is_repeated_where_it_keeps_too_little(monkeypatch):
    monkeypatch.setattr(synthetic, "MOST_DRAWN", 1)
    documents = drawn(filter="verifier")
    assert len(documents) == 64 > len({one.tobytes() for one in documents})
    assert share_right(documents) == 1


def test_where_the_filter_keeps_nothing_a_collapsed_policy_is_read_as_it_is(monkeypatch):
    monkeypatch.setattr(synthetic, "kept", lambda options, correct, rng: np.zeros_like(correct))
    documents = drawn(filter="verifier", n=8)
    assert len({one.tobytes() for one in documents}) == 8


def test_no_document_is_asked_of_the_teacher_where_all_stay_original():
    cfg = tiny("base.synthetic={generation: 1, original_share: 1.0}").base
    assert synthetic_documents(cfg, corpus_of(cfg), 0, Teacher({}, toy_state(0).backend), KEY) == []
