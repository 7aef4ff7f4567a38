"""Documents that show the steps, and policies that write some of their own before they answer."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from envs import Correctness, Reply, get
from envs.registry import TASKS
from envs.vector import TextVectorEnv
from harness.core.seeding import keys
from harness.policy.logprobs import token_logprobs
from harness.policy.tokenizer import ANSWER, EOS, answer_text, decode
from harness.train import pretrain
from harness.train.pretrain import corpus_of, document, expected_rl_tokens, pretrain_step
from harness.train.rollout import SamplingParams, gold_rollouts
from tests.toys import tiny, toy_state
from tests.train.toy_rollouts import documents, parts, played, toy_problems

ADDITION = ("base.tasks=[addition.symbolic]", "base.contexts.worded=0", "base.difficulties=[3]")


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
    found = [parts(held) for held in documents(2000, *ADDITION, worked=0.3)]
    assert np.mean([gold_scratchpad != "" for _, gold_scratchpad, _ in found]) == pytest.approx(0.3, abs=0.04)
    for prompt, gold_scratchpad, answer in found:
        assert gold_scratchpad.rstrip("\n") in ("", sums(prompt)) or gold_scratchpad.startswith(sums(prompt) + "\n")
        assert int(answer) == sum(map(int, prompt.rstrip("=").split("+")))
        assert not gold_scratchpad.endswith("\n")


def test_a_wrong_document_shows_the_steps_that_lead_to_its_wrong_answer():
    for prompt, gold_scratchpad, answer in map(parts, documents(50, *ADDITION, wrong=1.0, worked=1.0)):
        leading = "".join(line[-1] for line in reversed(gold_scratchpad.split("\n")))
        assert answer.endswith(leading[-3:])
        assert not gold_scratchpad.startswith(sums(prompt))


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
    read, update = [], pretrain.update

    def recorded(state, corpora, *rest):
        read.extend(corpora[0])
        return update(state, corpora, *rest)

    monkeypatch.setattr(pretrain, "update", recorded)
    config = tiny("base.scratchpad_share=1", "base.difficulties=[2]")
    state = toy_state(0, model=replace(config.model, context=12))
    pretrain_step(config.base, state, corpus_of(config.base))
    assert max(map(len, read)) == 12
    assert state.spent[0].tokens == sum(map(len, read))


# ---- rollouts


def rollouts_with_scratchpad(problems, thinking, turns=1):
    """Rollouts and checks of a policy that begins its answer, or stops, now and then."""
    state = toy_state(0)
    with torch.no_grad():
        state.policy.head[:, :, [ANSWER, EOS]] += 0.25
    return state.policy, *played(state, problems, turns=turns, thinking=thinking)


def test_a_forced_token_stands_in_the_row_and_takes_no_gradient():
    policy, rollouts, _ = rollouts_with_scratchpad(toy_problems(8), thinking=3)
    scored, mask = token_logprobs(policy, rollouts.ids[None], 1.0)[0], rollouts.loss_mask
    torch.testing.assert_close(rollouts.sampler_logprobs[mask], scored[mask], rtol=0, atol=1e-5)
    assert (rollouts.sampler_logprobs[~mask] == 0).all()
    for row, n, length, drawn in zip(rollouts.ids, rollouts.prompt_length, rollouts.length, mask):
        (undrawn,) = (~drawn[n:length]).nonzero(as_tuple=True)
        assert undrawn.tolist() in ([], [3])
        assert row[n:length][undrawn].tolist() == [ANSWER] * len(undrawn)
    assert 0 < (~mask).sum() - rollouts.prompt_length.sum() < mask.numel()


@pytest.mark.parametrize("thinking", [0, 3])
def test_the_result_is_of_what_follows_the_last_ANSWER_drawn_or_forced(thinking):
    problems = toy_problems(16)
    _, rollouts, results = rollouts_with_scratchpad(problems, thinking)
    task, found = get(problems[0].task), []
    for i, (row, n, length) in enumerate(zip(*map_rows(rollouts))):
        found.append(int(task.verify(problems[i // 4], answer_text(row[n:length].tolist()))))
    assert results.correctness.tolist() == found
    whole = [decode(row[n:length].tolist()) for row, n, length in zip(*map_rows(rollouts))]
    assert found != [int(task.verify(problems[0], text)) for text in whole]


def map_rows(rollouts):
    return rollouts.ids, rollouts.prompt_length, rollouts.length


def test_every_turn_has_a_budget_of_its_own(monkeypatch):
    def respond(problem, completions):
        return Reply("more") if len(completions) < 3 else Reply(correctness=Correctness.CORRECT)

    problem = toy_problems(1)[0]
    task = replace(get(problem.task), name="long.symbolic", max_turns=3, max_reply=4, respond=respond)
    monkeypatch.setitem(TASKS, task.name, task)
    _, rollouts, _ = rollouts_with_scratchpad([replace(problem, task=task.name)] * 4, thinking=2, turns=3)
    for turn in range(3):
        forced = (rollouts.ids == ANSWER) & ~rollouts.loss_mask & (rollouts.turn == turn)
        assert forced.any()
        assert forced.sum(1).max() == 1


@pytest.mark.parametrize("thinking", [None, 0, 2, 4, 9])
def test_a_demonstration_shows_as_many_steps_as_the_budget_allows(thinking):
    """The toy's steps are four tokens: a letter, a line break and two digits, three where the number has one. ANSWER is
    not the demonstrator's where the sampler would have forced it."""
    problems = toy_problems(6)
    config, env = SamplingParams(1, 4, 1.0, thinking=thinking), TextVectorEnv(6, "toy.symbolic")
    state, streams = toy_state(0), keys("sampling", (0,), 0)
    rollouts, results = gold_rollouts(state.backend, state.policy, env, problems, config, streams)
    assert results.correctness.tolist() == [1] * 6
    for problem, row, n, length, mask in zip(problems, *map_rows(rollouts), rollouts.loss_mask):
        steps = get(problem.task).scratchpad(problem)[: thinking or 0]
        text = decode(row[n:length].tolist())
        assert text == ("A⟨EOS⟩" if thinking is None else f"{steps}⟨ANSWER⟩A⟨EOS⟩")
        undrawn = (~mask[n:length]).nonzero().flatten().tolist()
        assert undrawn == ([thinking] if thinking is not None and len(steps) == thinking else [])
    assert expected_rl_tokens(problems, 3, thinking) == 3 * rollouts.length.sum().item()
