"""Episodes keep the very ids that were drawn, whatever they are played together with."""

from dataclasses import replace

import pytest
import torch

from envs import Correctness, Problem, Reply, get
from harness.core.types import StopReason
from harness.policy.logprobs import token_logprobs
from harness.policy.tokenizer import ENV, EOS, TURN, decode, encode_prompt
from tests.toys import tiny, toy_state
from tests.train.toy_rollouts import played, toy_problems


def test_rows_hold_prompt_and_completion_without_a_gap_and_log_probs_of_exactly_these_ids():
    """Ids that no text encodes to (specials in the middle of an answer) are kept as drawn, and scored as drawn."""
    state, problems = toy_state(0), toy_problems(6)
    rollouts, _ = played(state, problems)
    scored = token_logprobs(state.policy, rollouts.ids[None], 1.0)[0]
    torch.testing.assert_close(
        rollouts.sampler_logprobs[rollouts.loss_mask], scored[rollouts.loss_mask], rtol=0, atol=1e-5
    )
    drawn = rollouts.ids[rollouts.loss_mask]
    assert ((drawn < 16) & (drawn != EOS)).any()
    for row in range(rollouts.rows):
        n, length = rollouts.prompt_length[row], rollouts.length[row]
        assert rollouts.ids[row, :n].tolist() == encode_prompt(problems[row // 4].prompt).tolist()
        assert rollouts.loss_mask[row].nonzero().flatten().tolist() == list(range(n, length))
    assert (rollouts.sampler_logprobs[~rollouts.loss_mask] == 0).all()


@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_list_of_problems_may_be_played_in_pieces(size):
    state, problems = toy_state(0), toy_problems(7)
    whole, results = played(state, problems)
    texts, checks = [], []
    for first in range(0, 7, size):
        part, part_results = played(state, problems[first : first + size], first=first)
        texts += [decode(row[:n]) for row, n in zip(part.ids.tolist(), part.length.tolist())]
        checks.append(part_results.correctness)
    assert texts == [decode(row[:n]) for row, n in zip(whole.ids.tolist(), whole.length.tolist())]
    assert torch.equal(torch.cat(checks), results.correctness)


def test_completions_of_a_group_are_contiguous_and_differ():
    rollouts, _ = played(toy_state(0), toy_problems(3))
    prompts = [tuple(row[:n]) for row, n in zip(rollouts.ids.tolist(), rollouts.prompt_length.tolist())]
    assert [len(set(prompts[i : i + 4])) for i in (0, 4, 8)] == [1] * 3
    assert len(set(prompts)) == 3
    assert len({tuple(row) for row in rollouts.ids[:4].tolist()}) > 1


# ---- several turns


def respond(problem, completions):
    """Three turns at most; the reply repeats the turn's number."""
    if len(completions) == int(problem.answer):
        return Reply(correctness=Correctness.CORRECT)
    return Reply(f"turn {len(completions)}")


@pytest.fixture
def counting(monkeypatch):
    """A task of several turns, for one test."""
    from envs.registry import TASKS

    task = replace(get(toy_problems(1)[0].task), name="count.symbolic", max_turns=3, max_reply=6, respond=respond)
    monkeypatch.setitem(TASKS, task.name, task)
    return [Problem(task.name, f"p{turns}", str(turns), 1, f"count:{turns}") for turns in (1, 3, 2)]


def test_several_turns_alternate_in_one_row_and_only_drawn_tokens_are_in_the_mask(counting):
    state = toy_state(0)
    rollouts, results = played(state, counting, 2, turns=3)
    assert results.correctness.tolist() == [1] * 6
    assert rollouts.turn.amax(1).tolist() == [0, 0, 2, 2, 1, 1]
    scored = token_logprobs(state.policy, rollouts.ids[None], 1.0)[0]
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
    rollouts, _ = played(toy_state(0), counting[1:2], 64, turns=3)
    firsts = [rollouts.ids[rollouts.loss_mask & (rollouts.turn == turn)] for turn in (0, 1)]
    assert len(set(firsts[0].tolist())) > 20
    assert firsts[0].tolist() != firsts[1].tolist()


def test_an_episode_without_room_for_its_next_turn_ends_as_wrong(counting):
    model = replace(tiny().model, context=20)
    rollouts, results = played(toy_state(0, model=model), counting, 2, turns=3)
    assert rollouts.ids.shape[1] <= 20
    assert rollouts.turn.amax(1).tolist() == [0, 0, 1, 1, 1, 1]
    assert results.correctness.tolist() == [1, 1, 0, 0, 1, 1]
    assert results.well_formed[2:4].tolist() == [False, False]
    assert rollouts.stop_reason[2:4].tolist() == [int(StopReason.LENGTH)] * 2
