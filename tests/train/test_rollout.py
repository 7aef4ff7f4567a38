"""Episodes keep the very ids that were drawn, whatever they are played together with."""

from dataclasses import replace

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from envs import Problem, Reply, Verdict, get
from envs.base import exact
from envs.splits import distinct_problems
from envs.vector import TextVectorEnv
from harness.core.seeding import Key
from harness.core.types import StopReason
from harness.policy.logprobs import score
from harness.policy.tokenizer import ANSWER, ENV, EOS, PAD, TURN, answer_text, decode, encode, encode_prompt
from harness.train.rollout import Sampling, rollout, said
from tests.toys import tiny, toy_state
from tests.train.toy_rollouts import played, toy_problems

A, B = encode("ab").tolist()


def test_rows_hold_prompt_and_completion_without_a_gap_and_log_probs_of_exactly_these_ids():
    """Ids that no text encodes to (specials in the middle of an answer) are kept as drawn, and scored as drawn."""
    policy = toy_state(0).policy
    problems = toy_problems(6)
    rollouts, _ = played(policy, problems)
    scored = score(policy, rollouts.ids[None], 1.0)[0]
    torch.testing.assert_close(
        rollouts.sampler_logprobs[rollouts.loss_mask], scored[rollouts.loss_mask], rtol=0, atol=1e-5
    )
    drawn = rollouts.ids[rollouts.loss_mask]
    assert ((drawn < 16) & (drawn != EOS)).any()
    for row in range(rollouts.rows):
        n, length = rollouts.prompt_length[row], rollouts.length[row]
        assert rollouts.ids[row, :n].tolist() == encode_prompt(problems[rollouts.problem[row]].prompt).tolist()
        assert rollouts.loss_mask[row].nonzero().flatten().tolist() == list(range(n, length))
    assert (rollouts.sampler_logprobs[~rollouts.loss_mask] == 0).all()


def test_a_sampled_stop_token_is_in_the_loss_mask():
    rollouts, _ = played(toy_state(0).policy, toy_problems(6), group_size=64)
    stops = rollouts.ids == EOS
    assert stops.any()
    assert rollouts.loss_mask[stops].all()


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_list_of_problems_may_be_played_in_pieces(size):
    policy, problems = toy_state(0).policy, toy_problems(7)
    whole, checked = played(policy, problems)
    texts, verdicts = [], []
    for first in range(0, 7, size):
        part, part_checked = played(policy, problems[first : first + size], first=first)
        texts += [decode(row[:n]) for row, n in zip(part.ids.tolist(), part.length.tolist())]
        verdicts.append(part_checked.verdict)
    assert texts == [decode(row[:n]) for row, n in zip(whole.ids.tolist(), whole.length.tolist())]
    assert torch.equal(torch.cat(verdicts), checked.verdict)


def test_completions_of_a_group_are_contiguous_and_differ():
    rollouts, _ = played(toy_state(0).policy, toy_problems(3))
    assert rollouts.problem.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert len({tuple(row) for row in rollouts.ids[:4].tolist()}) > 1


# ---- verdicts where the completions are


@given(
    st.lists(
        st.tuples(st.text("ab", max_size=4), st.lists(st.sampled_from([PAD, EOS, ANSWER, A, B]), max_size=6)),
        min_size=1,
        max_size=8,
    )
)
@example([("a", [B, ANSWER, A, EOS]), ("", [A, ANSWER]), ("b", [A, ANSWER, B, ANSWER]), ("ab", [ANSWER, A, B])])
@example([("a", [A, EOS]), ("a", [A]), ("", [EOS]), ("", []), ("a", [A, PAD]), ("ab", [A, B, EOS, EOS])])
def test_ids_say_what_the_verifier_says_of_their_text(rows):
    answers, ids = zip(*((encode(text).tolist(), drawn) for text, drawn in rows))
    padded = lambda rows, width, fill: torch.tensor([row + [fill] * (width - len(row)) for row in rows])  # noqa: E731
    length = lambda rows: torch.tensor([len(row) for row in rows])  # noqa: E731
    right = said(padded(answers, 4, PAD), length(answers), padded(ids, 6, 0), length(ids))
    expected = [text == answer_text(drawn) for text, drawn in rows]
    assert right.tolist() == expected


@pytest.fixture
def one_answer(monkeypatch):
    """A task whose answer an untrained policy gives now and then."""
    from envs.registry import TASKS

    task = replace(get("toy.symbolic"), name="one.symbolic", verify=exact)
    monkeypatch.setitem(TASKS, task.name, task)
    return [replace(problem, task=task.name, answer=answer) for problem, answer in zip(toy_problems(6), "ABCABC")]


@pytest.mark.parametrize("thinking", [None, 2])
def test_one_right_answer_is_known_without_the_environment(one_answer, thinking, monkeypatch):
    policy = toy_state(0).policy
    env, sampling = TextVectorEnv(6 * 256, "one.symbolic"), Sampling(256, 1, 1.0, thinking=thinking)
    _, by_text = rollout(policy, env, one_answer, sampling, (Key("sampling", 0),))
    assert by_text.verdict.sum() > 3
    monkeypatch.setattr(TextVectorEnv, "step", None)
    rollouts, by_ids = rollout(policy, env, one_answer, replace(sampling, form=False), (Key("sampling", 0),))
    assert torch.equal(by_ids.verdict, by_text.verdict)
    assert torch.equal(by_ids.well_formed, by_ids.verdict == 1)
    assert rollouts.rows == 6 * 256


def test_another_right_answer_or_turn_needs_the_environment(one_answer, monkeypatch):
    assert get("one.symbolic").has_one_answer
    assert not get("toy.symbolic").has_one_answer
    assert not replace(get("one.symbolic"), max_turns=2, respond=respond).has_one_answer
    mixed = [*one_answer, *toy_problems(1)]
    env, asked = TextVectorEnv(7 * 4, "toy.symbolic"), []
    plain = TextVectorEnv.step
    monkeypatch.setattr(TextVectorEnv, "step", lambda self, actions: (asked.append(1), plain(self, actions))[1])
    rollout(toy_state(0).policy, env, mixed, Sampling(4, 2, 1.0, form=False), (Key("sampling", 0),))
    assert len(asked) == 1


# ---- several turns


def respond(problem, completions):
    """Three turns at most; the reply repeats the turn's number."""
    if len(completions) == int(problem.answer):
        return Reply(verdict=Verdict.CORRECT)
    return Reply(f"turn {len(completions)}")


@pytest.fixture
def counting(monkeypatch):
    """A task of several turns, for one test."""
    from envs.registry import TASKS

    task = replace(get(toy_problems(1)[0].task), name="count.symbolic", max_turns=3, max_reply=6, respond=respond)
    monkeypatch.setitem(TASKS, task.name, task)
    return [Problem(task.name, f"p{turns}", str(turns), 1, f"count:{turns}") for turns in (1, 3, 2)]


def play(policy, problems, group=2, tokens=4):
    env = TextVectorEnv(len(problems) * group, problems[0].task)
    return rollout(policy, env, problems, Sampling(group, tokens, 1.0, 3), (Key("sampling", 0),))


def test_several_turns_alternate_in_one_row_and_only_drawn_tokens_are_in_the_mask(counting):
    policy = toy_state(0).policy
    rollouts, checked = play(policy, counting)
    assert checked.verdict.tolist() == [1] * 6
    assert rollouts.turn.amax(1).tolist() == [0, 0, 2, 2, 1, 1]
    scored = score(policy, rollouts.ids[None], 1.0)[0]
    mask = rollouts.loss_mask
    torch.testing.assert_close(rollouts.sampler_logprobs[mask], scored[mask], rtol=0, atol=1e-5)
    for row in range(rollouts.rows):
        text = decode(rollouts.ids[row, : rollouts.length[row]].tolist())
        turns = rollouts.turn[row].max().item()
        assert text.count("⟨ENV⟩turn ") >= turns
        fixed = rollouts.ids[row, rollouts.prompt_length[row] :][~mask[row, rollouts.prompt_length[row] :]]
        assert (fixed == ENV).sum() == turns
        assert (fixed == TURN).sum() == turns


def test_every_turn_draws_from_numbers_of_its_own(counting):
    """Were they used again, a policy that ignores its context would repeat itself."""
    rollouts, _ = play(toy_state(0).policy, counting[1:2], group=64)
    firsts = [rollouts.ids[rollouts.loss_mask & (rollouts.turn == turn)] for turn in (0, 1)]
    assert len(set(firsts[0].tolist())) > 20
    assert firsts[0].tolist() != firsts[1].tolist()


def test_an_episode_without_room_for_its_next_turn_ends_as_wrong(counting):
    model = replace(tiny().model, context=20)
    rollouts, checked = play(toy_state(0, model=model).policy, counting)
    assert rollouts.ids.shape[1] <= 20
    assert rollouts.turn.amax(1).tolist() == [0, 0, 1, 1, 1, 1]
    assert checked.verdict.tolist() == [1, 1, 0, 0, 1, 1]
    assert checked.well_formed[2:4].tolist() == [False, False]
    assert rollouts.stop_reason[2:4].tolist() == [int(StopReason.LENGTH)] * 2


def test_training_and_test_problems_never_share_a_content():
    lists = {s: distinct_problems(get("toy.symbolic"), 2, s, 50, 0) for s in ("train", "validation", "test")}
    worded = {p.content for p in distinct_problems(get("toy.worded"), 2, "train", 50, 0)}
    contents = {split: {p.content for p in problems} for split, problems in lists.items()}
    assert not contents["train"] & contents["test"]
    assert not contents["validation"] & (contents["test"] | contents["train"])
    assert not worded & contents["test"]
