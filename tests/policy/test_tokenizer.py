"""Token ids are the truth; text and ids never drift apart."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import UserError
from harness.policy.tokenizer import (
    ANSWER,
    BOS,
    ENV,
    EOS,
    PAD,
    TURN,
    VOCAB_SIZE,
    answer_text,
    answer_texts,
    decode,
    encode,
    encode_completion,
    encode_environment_reply,
    encode_prompt,
)

ASCII = "\n" + "".join(map(chr, range(32, 127)))


@given(st.text(alphabet=ASCII))
def test_decode_of_encode_is_the_identity_on_all_of_ascii(text):
    assert decode(encode(text)) == text


@given(st.lists(st.integers(16, VOCAB_SIZE - 1)))
def test_encode_of_decode_is_the_identity_on_all_text_ids(ids):
    assert encode(decode(ids)).tolist() == ids


def test_every_character_has_an_id_of_its_own():
    assert sorted(encode(ASCII).tolist()) == list(range(16, VOCAB_SIZE))


@pytest.mark.parametrize("character", ["\t", "\r", "é", "٣", "𝟛", "\x7f", "\x00", "⟨"])
def test_any_other_character_is_refused_by_name(character):
    with pytest.raises(UserError, match="holds the character"):
        encode(f"1{character}2")


def test_eos_is_not_pad():
    assert len({PAD, BOS, EOS, TURN, ENV, ANSWER}) == 6


@pytest.mark.parametrize("special", range(16))
def test_a_special_id_in_an_answer_can_never_read_as_ascii(special):
    """Else a completion that holds one could pass for the answer that it is not."""
    text = answer_text([*encode("1"), special, *encode("2")])
    assert text == "2" if special == ANSWER else not text.isascii()


def test_the_verifier_reads_what_follows_the_last_answer_without_the_closing_eos():
    assert answer_text([*encode("42"), EOS]) == "42"
    assert answer_text([*encode("4+2"), ANSWER, *encode("5"), ANSWER, *encode("6"), EOS]) == "6"
    assert answer_text([EOS]) == answer_text([]) == ""
    assert answer_text([*encode("4"), EOS, EOS]) != "4"


def test_prompts_completions_and_replies_are_framed():
    assert encode_prompt("ab").tolist() == [BOS, *encode("ab"), TURN]
    assert encode_environment_reply("ab").tolist() == [ENV, *encode("ab"), TURN]
    assert encode_completion("ab").tolist() == [*encode("ab"), EOS]
    assert encode_completion("ab", "").tolist() == [ANSWER, *encode("ab"), EOS]
    assert encode_completion("ab", "c\nd").tolist() == [*encode("c\nd"), ANSWER, *encode("ab"), EOS]


@given(
    rows=st.lists(
        st.lists(st.one_of(st.sampled_from([EOS, ANSWER, PAD]), st.integers(0, 111)), max_size=7), min_size=1
    ),
    longer=st.integers(1, 3),
)
def test_texts_of_a_batch_are_those_of_its_rows(rows, longer):
    """Whatever stands beyond a row's end."""
    ids = np.full((len(rows), max(map(len, rows)) + longer), 50)
    for row, given_ids in zip(ids, rows):
        row[: len(given_ids)] = given_ids
    assert answer_texts(ids, np.array([*map(len, rows)])) == [answer_text(row) for row in rows]
