"""Documents that show the steps."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from envs import get
from harness.policy.tokenizer import ANSWER, EOS, TURN, answer_text, decode
from harness.seeding import Key
from harness.train import pretrain as module
from harness.train.pretrain import corpus_of, document, draw_documents, pretrain_step
from tests.toys import tiny, toy_state

ADDITION = ("base.tasks=[addition.symbolic]", "base.contexts.worded=0", "base.difficulties=[3]")


def documents(n, worked, wrong=0.0, settings=ADDITION):
    return draw_documents(corpus_of(tiny(*settings).base), n, wrong, Key("documents", 0).generator(), worked)


def parts(document):
    """Prompt, scratchpad (None without ANSWER) and answer."""
    ids = document.tolist()
    turn = ids.index(TURN)
    thought = decode(ids[turn + 1 : ids.index(ANSWER)]) if ANSWER in ids else None
    return decode(ids[1:turn]), thought, answer_text(ids[turn + 1 :])


def sums(prompt):
    """The worked solution of an addition, digit by digit."""
    a, b = (part[::-1] for part in prompt.rstrip("=").split("+"))
    lines, carry = [], 0
    for x, y in zip(a, b):
        total = int(x) + int(y) + carry
        lines.append(f"{x}+{y}+{carry}={total}")
        carry = total // 10
    return "\n".join(lines)


def test_a_share_of_the_documents_shows_the_steps_and_in_all_of_them_ANSWER_opens_the_answer():
    found = [parts(held) for held in documents(2000, 0.3)]
    assert np.mean([thought != "" for _, thought, _ in found]) == pytest.approx(0.3, abs=0.04)
    for prompt, thought, answer in found:
        assert thought.rstrip("\n") in ("", sums(prompt)) or thought.startswith(sums(prompt) + "\n")
        assert int(answer) == sum(map(int, prompt.rstrip("=").split("+")))
        assert not thought.endswith("\n")


def test_without_a_share_documents_are_to_the_byte_what_they_were_before_there_was_one():
    """Of addition and of a task of several turns, with wrong answers; the hash was taken before."""
    settings = ("base.tasks=[addition.*,calculator.*]", "base.difficulties=[1,2,3]", "model.context=400")
    held = b"".join(d.tobytes() for d in documents(256, 0.0, 0.1, settings))
    assert hashlib.blake2b(held, digest_size=8).hexdigest() == "527b2a8b6779b3d3"


def test_problems_and_right_and_wrong_answers_are_the_same_whatever_the_share():
    shares = [[(p, a) for p, _, a in map(parts, documents(200, share, 0.4))] for share in (0.0, 0.2, 1.0)]
    assert shares[0] == shares[1] == shares[2]


def test_a_wrong_document_shows_the_steps_that_lead_to_its_wrong_answer():
    for prompt, thought, answer in map(parts, documents(50, 1.0, 1.0)):
        leading = "".join(line[-1] for line in reversed(thought.split("\n")))
        assert answer.endswith(leading[-3:])
        assert not thought.startswith(sums(prompt))


def test_every_task_with_steps_gives_them_without_the_answer():
    rng = np.random.default_rng(0)
    for name in ("sorting.worded", "gcd.symbolic", "function.symbolic", "toy.symbolic"):
        task = get(name)
        problem = task.draw(rng, 2)
        steps = task.scratchpad(problem)
        assert steps + "\n" + problem.answer == task.worked(problem)
        ids = document(problem, problem.answer, steps).tolist()
        assert ids.count(ANSWER) == 1
        assert (ids[-1], answer_text(ids[ids.index(ANSWER) :])) == (EOS, problem.answer)
    assert get("calculator.symbolic").scratchpad(get("calculator.symbolic").draw(rng, 2)) == ""


def test_a_document_that_outgrows_the_context_is_cut(monkeypatch):
    read, learn = [], module.learn
    noted = lambda state, corpora, *rest: read.extend(corpora[0]) or learn(state, corpora, *rest)  # noqa: E731
    monkeypatch.setattr(module, "learn", noted)
    config = tiny("base.worked=1", "base.difficulties=[2]")
    state = toy_state(0, model=replace(config.model, context=12))
    pretrain_step(config.base, state, corpus_of(config.base))
    assert max(map(len, read)) == 12
    assert state.spent[0].tokens == sum(map(len, read))
