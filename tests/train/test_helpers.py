"""A step shared out among threads: the same bits however many there are, and the numbers of the whole to rounding."""

import copy
import threading

import harness.train.helpers as helpers
import pytest
import torch
from harness.train.helpers import parts_of

from envs.vector import TextVectorEnv
from harness.policy.backends import native
from harness.run.job import new_state, training_mixture
from harness.train.critic import add_critic
from harness.train.rl import micro_batches, rl_step
from tests.policy.conftest import needs_compiler
from tests.toys import tiny, toy_state
from tests.train.toy_rollouts import played, toy_problems


def stepped(threads, steps=3, settings=()):
    """Weights after some steps of toy RL, what was told, and how many threads were at work in them."""
    config = tiny("rl.problems=8", *settings)
    state, mixture, seen = new_state(config, config.optim, (0,)), training_mixture(config), set()
    env = TextVectorEnv(32, mixture.tasks[0])
    add_critic(state, config.algo, config.optim)
    if config.algo.kl != "none":
        state.reference = copy.deepcopy(state.policy)
    with native.num_threads(threads), helpers.helpers(threads, state.policy) as each:

        def watched(work, items):
            return each(lambda item: (seen.add(threading.get_ident()), work(item))[1], items)

        reports = [rl_step(config, state, env, mixture, watched) for _ in range(steps)]
    weights = [w.detach().clone() for w in state.policy.parameters()]
    return weights, [{k: v.tolist() for k, v in r.metrics.items()} for r in reports], len(seen)


@pytest.fixture
def plain():
    """PyTorch's operations: harness.policy.backends.native shares each of its calls out by itself."""
    with native.disabled():
        yield


@pytest.fixture
def four_parts(monkeypatch, plain):
    monkeypatch.setattr(helpers, "WORTH_A_PART", 1.0)
    monkeypatch.setattr("harness.train.rl.TOKENS_OF_A_PART", 1)
    monkeypatch.setattr("harness.train.rollout.ROWS_OF_A_PART", 1)


@pytest.mark.parametrize("settings", [(), ("algo=ppo",), ("algo.kl=k3", "algo.kl_coefficient=0.1")], ids=str)
def test_no_bit_depends_on_the_number_of_threads(four_parts, settings):
    alone, told, _ = stepped(1, settings=settings)
    for threads in (2, 3):
        weights, same, seen = stepped(threads, settings=settings)
        assert seen >= 2
        assert told == same
        assert all(torch.equal(a, b) for a, b in zip(alone, weights, strict=True))


@needs_compiler
@pytest.mark.parametrize("settings", [(), ("algo=ppo",)], ids=str)
def test_no_bit_depends_on_the_number_of_threads_that_share_each_call(settings):
    alone, told, _ = stepped(1, settings=settings)
    for threads in (2, 3):
        weights, same, seen = stepped(threads, settings=settings)
        assert seen == 1  # Python's own
        assert told == same
        assert all(torch.equal(a, b) for a, b in zip(alone, weights, strict=True))


def test_parts_are_those_of_the_whole_to_rounding(plain, request):
    whole, told, _ = stepped(1, steps=1)
    request.getfixturevalue("four_parts")
    parts, same, _ = stepped(1, steps=1)
    assert told[0]["accuracy"] == same[0]["accuracy"]
    assert told[0]["entropy"] == pytest.approx(same[0]["entropy"], rel=1e-5)
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_a_batch_is_cut_into_equal_parts_where_they_are_worth_it(plain):
    policy = toy_state(0).policy
    assert parts_of(7, 10**9, 3, policy) == [range(2), range(2, 4), range(4, 7)]
    assert parts_of(2, 10**9, 8, policy) == [range(1), range(1, 2)]
    assert len(parts_of(100, 10**9, 100, policy)) == helpers.MOST_PARTS
    assert parts_of(100, 10, 100, policy) == [range(100)]  # not worth it
    assert parts_of(5, 10**9, 0, policy) == [range(5)]
    assert parts_of(0, 0, 0, policy) == [range(0)]


@needs_compiler
def test_a_batch_is_not_cut_where_each_call_is_shared_out():
    assert parts_of(7, 10**9, 3, toy_state(0).policy) == [range(7)]


def test_an_error_in_a_part_is_raised(four_parts, monkeypatch):
    def broken(*_):
        raise ValueError("planted")

    monkeypatch.setattr("harness.train.rl.losses", broken)
    with pytest.raises(ValueError, match="planted"):
        stepped(2)


def test_micro_batches_that_are_asked_for_are_kept(four_parts):
    from tests.train.test_rl import GROUPS, batches

    (batch,) = batches(toy_state(0), keep_silent=True)
    policy = toy_state(0).policy
    assert [part.prompts.shape[1] for part in micro_batches(batch, policy, 4)] == [4, GROUPS - 4]
    assert [part.prompts.shape[1] for part in micro_batches(batch, policy, 0)] == [1, 2, 1, 2]


@needs_compiler
def test_where_each_call_is_shared_out_a_batch_is_cut_for_memory_alone(monkeypatch):
    from tests.train.test_rl import GROUPS, batches

    (batch,) = batches(toy_state(0), keep_silent=True)
    policy, cut = toy_state(0).policy, lambda: [part.prompts.shape[1] for part in micro_batches(batch, policy, 0)]
    assert cut() == [GROUPS]
    tokens = batch.prompts[0].numel() + batch.completions[0].numel()
    monkeypatch.setattr("harness.train.helpers.TOKENS_AT_ONCE", tokens // 3 + 1)
    assert cut() == [GROUPS // 3] * 3
    monkeypatch.setattr("harness.train.helpers.TOKENS_AT_ONCE", 1)
    assert cut() == [1] * GROUPS


def test_sampling_in_parts_draws_the_same_tokens(monkeypatch, request):
    whole, checked = played(toy_state(0).policy, toy_problems(9))
    request.getfixturevalue("four_parts")
    parts, again = played(toy_state(0).policy, toy_problems(9))
    assert torch.equal(whole.ids, parts.ids)
    assert torch.equal(whole.stop_reason, parts.stop_reason)
    assert torch.equal(checked.verdict, again.verdict)
    torch.testing.assert_close(whole.sampler_logprobs, parts.sampler_logprobs, rtol=0, atol=1e-5)
