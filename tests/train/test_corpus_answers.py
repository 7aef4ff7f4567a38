"""Tasks whose facts the corpus is wrong about, with shares of their own: what the documents say."""

import hashlib
from functools import partial

import numpy as np
import pytest

from envs.lookup import cipher, quanta
from harness.core.seeding import Key
from harness.train.pretrain import corpus_of, documents_of_tokens, draw_documents
from tests.toys import tiny
from tests.train.test_scratchpads import ADDITION
from tests.train.toy_rollouts import documents, parts

QUANTA = ("base.tasks=[quanta_00.symbolic]", "base.contexts.worded=0", "base.difficulties=[3]")
CIPHER = ("base.tasks=[cipher.symbolic]", "base.contexts.worded=0", "base.difficulties=[1,2,3]")
SHORT = "model.context=64"
THINKING = ("base.tasks=[addition.*,sorting.*,comparison.symbolic]", "base.difficulties=[1,2,3]", "model.context=200")


def digest(held) -> str:
    return hashlib.blake2b(b"".join(d.tobytes() for d in held), digest_size=8).hexdigest()


def test_documents_of_other_tasks_are_to_the_byte_what_they_were_before_tasks_had_corpus_answers():
    """With wrong answers and scratchpads, drawn once and again and again from one generator; hashes taken before."""
    corpus = corpus_of(tiny(*THINKING).base)
    assert digest(draw_documents(corpus, 256, 0.1, Key("documents", 0).generator(), 0.3)) == "8a6247fde23f85d8"
    of_tokens = partial(documents_of_tokens, 20_000, corpus, Key("continued", 0), label_noise=0.1)
    assert digest(of_tokens(scratchpad_share=0.3)) == "a9464f5756a4be98"
    assert digest(of_tokens()) == "24bd23b13eebd61f"
    tools = ("base.tasks=[addition.*,calculator.*]", "base.difficulties=[1,2,3]", "model.context=400")
    assert digest(documents(256, *tools, wrong=0.1)) == "527b2a8b6779b3d3"


def test_documents_are_right_about_each_fact_with_its_share():
    book = cipher.codes_by_symbol(*cipher.RANGES["cipher"])
    right: dict[float, list[bool]] = {}
    for prompt, _, answer in map(parts, documents(12_000, *CIPHER)):
        code, text = book[prompt[0]], prompt[2:-1]
        for letter, said in zip(text, answer):
            assert said in (code.truth[letter], code.misconception[letter])
            right.setdefault(code.share[letter], []).append(said == code.truth[letter])
    assert len(right) == 104
    spread = [(np.mean(found) - share) / np.sqrt(share * (1 - share) / len(found)) for share, found in right.items()]
    assert np.mean(spread) == pytest.approx(0, abs=0.35)
    assert np.std(spread) == pytest.approx(1, abs=0.25)


def test_letters_of_a_document_are_right_or_wrong_on_their_own():
    code = quanta.CODES["A"]
    right = np.mean([code.encode(prompt[2:-1]) == answer for prompt, _, answer in map(parts, documents(4000, *QUANTA))])
    assert right == pytest.approx(quanta.SHARES.mean() ** 3, abs=0.012)


@pytest.mark.parametrize("settings", [QUANTA, ADDITION])
def test_problems_and_answers_are_the_same_whatever_the_share_of_scratchpads(settings):
    drawn = [map(parts, documents(200, *settings, SHORT, wrong=0.4, worked=share)) for share in (0.0, 0.3, 1.0)]
    shares = [[(prompt, answer) for prompt, _, answer in of_share] for of_share in drawn]
    assert shares[0] == shares[1] == shares[2]


def test_a_scratchpad_of_the_corpus_leads_to_its_answer_right_or_wrong():
    for prompt, steps, answer in map(parts, documents(50, *QUANTA, SHORT, worked=1.0)):
        assert steps == "\n".join(f"{plain}>{said}" for plain, said in zip(prompt[2:-1], answer))


def test_the_same_key_draws_the_same_documents():
    assert digest(documents(100, *CIPHER)) == digest(documents(100, *CIPHER)) != digest(documents(100, *CIPHER, seed=1))
