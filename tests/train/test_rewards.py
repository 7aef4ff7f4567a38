"""The arms of a study differ in their reward and nowhere else."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.config.schema import RewardConfig
from harness.train.rewards import (
    REWARDS,
    format_reward,
    kl_in_reward,
    length_reward,
    random_reward,
    shape_rewards,
    shuffled_within_group,
    true_reward,
)
from tests.toys import algo
from tests.train.toy_rollouts import CORRECT, UNSCORABLE, WRONG, hand_made, zero_advantage

RESULTS = st.lists(
    st.lists(st.sampled_from([WRONG, CORRECT, UNSCORABLE]), min_size=6, max_size=6), min_size=2, max_size=6
)


def same(a, b):
    return torch.equal(a.nan_to_num(-1), b.nan_to_num(-1))


def test_the_true_reward_is_the_correctness_and_unscorable_is_nan():
    rewards = true_reward(hand_made([[CORRECT, WRONG, UNSCORABLE]]))
    assert same(rewards.base, torch.tensor([1.0, 0.0, torch.nan]))
    assert rewards.base is rewards.outcome


@settings(max_examples=30, deadline=None)
@given(RESULTS)
def test_shuffling_keeps_each_groups_multiset_of_rewards(checks):
    inputs = hand_made(checks)
    truth, dealt = (inputs.rollouts.grouped(r(inputs).outcome) for r in (true_reward, shuffled_within_group))
    assert torch.equal(truth.isnan(), dealt.isnan())
    assert same(truth.sort(-1).values, dealt.sort(-1).values)
    silent = [zero_advantage("grpo", r(inputs), inputs.rollouts) for r in (true_reward, shuffled_within_group)]
    assert silent[0] == silent[1]


def test_shuffling_deals_rewards_independently_of_the_truth():
    """Over many groups with one right row, each place gets the reward about equally often."""
    inputs = hand_made([[CORRECT, WRONG, WRONG, WRONG]] * 2000)
    places = inputs.rollouts.grouped(shuffled_within_group(inputs).outcome)[0].sum(0)
    assert ((places - 500).abs() < 4 * (2000 * 0.25 * 0.75) ** 0.5).all()


def test_the_random_reward_has_the_mean_of_the_true_one_and_ignores_correctness():
    inputs = hand_made([[CORRECT, WRONG, WRONG, UNSCORABLE]] * 4000)
    rewards = inputs.rollouts.grouped(random_reward(inputs).outcome)[0]
    assert rewards[:, 3].isnan().all()
    assert (rewards[:, :3].mean(0) - 1 / 3).abs().max() < 4 * (2 / 9 / 4000) ** 0.5


def test_the_format_reward_pays_form_alone():
    form = [[True, False, True, True]]
    rewards = format_reward(hand_made([[WRONG, CORRECT, CORRECT, UNSCORABLE]], well_formed=form))
    assert same(rewards.outcome, torch.tensor([1.0, 0.0, 1.0, torch.nan]))


def of_lengths(checks, lengths, stopped):
    """Rows of so many drawn tokens of at most 3, that ended with the stop token or were cut off."""
    inputs = hand_made(checks)
    column, length = torch.arange(4), torch.tensor(lengths).flatten()
    rollouts = replace(
        inputs.rollouts,
        loss_mask=(column > 0) & (column <= length[:, None]),
        stop_reason=(~torch.tensor(stopped).flatten()).long(),
    )
    return replace(inputs, rollouts=rollouts)


def test_the_length_reward_pays_for_the_length_of_a_right_answer_whatever_it_contains():
    """Right ones of 1 and of 2 characters in the first group, none in the second."""
    inputs = of_lengths(
        [[CORRECT, WRONG, WRONG, CORRECT, WRONG, UNSCORABLE], [WRONG, WRONG, UNSCORABLE, WRONG, WRONG, WRONG]],
        [[2, 2, 1, 3, 3, 2], [1, 2, 3, 1, 2, 3]],
        [[True, True, True, True, True, True], [True] * 6],
    )
    expected = [1.0, 1.0, 0.0, 1.0, 1.0, torch.nan, 0.0, 0.0, torch.nan, 0.0, 0.0, 0.0]
    assert same(length_reward(inputs).base, torch.tensor(expected))


def test_the_stop_token_is_no_part_of_the_length():
    """Three tokens of which one stops are two characters; cut off, they are three."""
    inputs = of_lengths([[CORRECT, WRONG, WRONG, WRONG]], [[3, 3, 2, 2]], [[True, False, False, True]])
    assert length_reward(inputs).base.tolist() == [1.0, 0.0, 1.0, 0.0]


@pytest.mark.parametrize("name", sorted(set(REWARDS) - {"learned_reward"}))
def test_each_stacked_seed_is_rewarded_as_it_is_alone(name):
    a, b = [[1, 0, 0, 1], [0, 0, 1, 2]], [[1, 1, 1, 1], [0, 0, 0, 0]]
    together = REWARDS[name](hand_made(a + b, seeds=2)).outcome
    alone = hand_made(a)
    assert same(together[:8], REWARDS[name](alone).outcome)


@pytest.mark.parametrize("name", sorted(set(REWARDS) - {"learned_reward"}))
def test_a_row_is_unscorable_under_every_reward_if_its_check_failed(name):
    assert REWARDS[name](hand_made([[CORRECT, UNSCORABLE, WRONG]])).base.isnan().tolist() == [False, True, False]


def test_shaping_by_hand():
    """Two groups of three; lengths 3 3 1 and 1 3 3 of at most 4; the last two are truncated."""
    inputs = hand_made([[CORRECT, WRONG, UNSCORABLE], [CORRECT, CORRECT, WRONG]])
    mask = inputs.rollouts.loss_mask.clone()
    mask[2:4, 2:] = False
    rollouts = replace(inputs.rollouts, loss_mask=mask, stop_reason=torch.tensor([0, 0, 0, 0, 1, 1]))
    rewards = shape_rewards(true_reward(inputs), rollouts, RewardConfig("true_reward", 0.4, 0.5, None), max_tokens=4)
    assert same(rewards.base, torch.tensor([1.0, 0.0, torch.nan, 1.0, 1.0, 0.0]))
    expected = torch.tensor([1 - 0.3, -0.3, torch.nan, 1 - 0.1, 1 - 0.3 - 0.5, -0.3 - 0.5])
    torch.testing.assert_close(rewards.outcome, expected, equal_nan=True)


def test_kl_in_the_reward_by_hand():
    """Each drawn token pays .1 x (log sampler - log reference); a prompt token pays nothing."""
    inputs = hand_made([[CORRECT, WRONG]], tokens=3)
    ref = torch.tensor([[9.0, -1.0, -2.0], [9.0, 0.0, -0.5]])
    rewards = kl_in_reward(true_reward(inputs), inputs.rollouts, ref, algo("rloo", kl="k1", kl_coefficient=0.1))
    torch.testing.assert_close(rewards.token, torch.tensor([[0.0, -0.1, -0.2], [0.0, 0.0, -0.05]]))
    assert kl_in_reward(true_reward(inputs), inputs.rollouts, ref, algo("rloo", kl="k3")).token is None
