"""Advantages: what multiplies the gradient, by hand and by what must hold of any."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.train.algorithms import ALGORITHMS
from harness.train.rewards import true_reward
from tests.toys import algo
from tests.train.toy_rollouts import hand_made, rewards_of, zero_advantage

NAN = float("nan")
ALL = [(name, scale) for name in ("rloo", "grpo") for scale in ("none", "group", "batch")]


def advantages(rewards, name="rloo", scale="none", seeds=1):
    """[S·P, G], after checking that each row has one value on its drawn tokens and 0 on its prompt."""
    rollouts = hand_made([[0] * len(rewards[0]) for _ in rewards], seeds=seeds).rollouts
    out = ALGORITHMS[name].advantage(rewards_of(rewards), None, rollouts, algo(name, scale=scale))
    assert (out[:, 0] == 0).all()
    assert (out[:, 1:] == out[:, 1:2]).all()
    return out[:, 1].view(len(rewards), -1)


# Two groups of three: rewards 1 0 0 and 1 1 0.
HAND = [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]
RLOO = [[1.0, -0.5, -0.5], [0.5, 0.5, -1.0]]
THIRDS = [[2 / 3, -1 / 3, -1 / 3], [1 / 3, 1 / 3, -2 / 3]]


@pytest.mark.parametrize(
    ("name", "scale", "expected"),
    [
        ("rloo", "none", RLOO),
        # Over all six: mean square (1 + 6·1/4 ... ) = (1 + .25 + .25 + .25 + .25 + 1) / 6 = 1/2.
        ("rloo", "batch", [[a * 2**0.5 for a in row] for row in RLOO]),
        ("grpo", "none", THIRDS),
        # Each group's variance is 2/9.
        ("grpo", "group", [[a / (2 / 9) ** 0.5 for a in row] for row in THIRDS]),
        ("grpo", "batch", [[a / (2 / 9) ** 0.5 for a in row] for row in THIRDS]),
    ],
)
def test_two_groups_of_three_by_hand(name, scale, expected):
    torch.testing.assert_close(advantages(HAND, name, scale), torch.tensor(expected))


@pytest.mark.parametrize(("name", "scale"), ALL)
def test_an_unscorable_row_gets_nothing_and_moves_no_baseline(name, scale):
    with_it = advantages([[1.0, NAN, 0.0, 0.0], [1.0, 1.0, 0.0, NAN]], name, scale)
    without = advantages(HAND, name, scale)
    assert (with_it[0, 1], with_it[1, 3]) == (0, 0)
    torch.testing.assert_close(with_it[0, [0, 2, 3]], without[0])
    torch.testing.assert_close(with_it[1, :3], without[1])


@pytest.mark.parametrize(("name", "scale"), ALL)
def test_a_group_with_one_scorable_row_or_none_has_zero_advantage(name, scale):
    assert (advantages([[NAN, 1.0, NAN], [NAN, NAN, NAN]], name, scale) == 0).all()


@pytest.mark.parametrize(("name", "scale"), ALL)
@settings(max_examples=25, deadline=None)
@given(reward=st.floats(-1e3, 1e3, width=32), size=st.integers(2, 9))
def test_equal_rewards_give_exactly_zero_whatever_their_rounding(name, scale, reward, size):
    """A mean of equal floats may be off by an ulp; over a tiny deviation that would be an advantage of 1."""
    assert (advantages([[reward] * size, [0.0] * (size - 1) + [1.0]], name, scale)[0] == 0).all()


@pytest.mark.parametrize("gap", [1e-3, 1e-7, 1e-12])
def test_the_default_does_not_blow_up_a_tiny_difference_between_rewards(gap):
    """Only scale=group would: it makes an advantage of order 1 from a difference of any size."""
    rewards = [[gap, 0.0, 0.0], [1.0, 1.0, 0.0]]
    assert advantages(rewards, "rloo", "batch")[0].abs().max() < 4 * gap
    assert advantages(rewards, "rloo", "none")[0].abs().max() < 1.01 * gap


@pytest.mark.parametrize(("name", "scale"), ALL)
@settings(max_examples=25, deadline=None)
@given(data=st.lists(st.lists(st.sampled_from([0.0, 0.25, 1.0]), min_size=4, max_size=4), min_size=1, max_size=5))
def test_advantages_of_a_group_sum_to_zero(name, scale, data):
    torch.testing.assert_close(advantages(data, name, scale).sum(1), torch.zeros(len(data)), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("name", "scale"), [*ALL, ("reinforce_pp", "batch"), ("reinforce", "none")])
def test_nothing_reduces_over_seeds(name, scale):
    a, b = HAND, [[5.0, 0.0, 0.0], [0.0, NAN, 0.0]]
    together = advantages(a + b, name, scale, seeds=2)
    torch.testing.assert_close(together, torch.cat((advantages(a, name, scale), advantages(b, name, scale))))


def test_zero_advantage_is_decided_by_the_base_reward_before_shaping():
    """Shaping (a length penalty, say) makes rewards of one group differ; that alone is no signal."""
    rollouts = hand_made([[0, 0, 0], [1, 0, 0]]).rollouts
    base = rewards_of([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    shaped = replace(base, outcome=torch.tensor([0.0, -0.1, -0.2, 0.9, 0.9, 0.9]))
    assert zero_advantage("rloo", shaped, rollouts) == [[True, False]]


def test_exact_equality_decides_zero_advantage():
    rollouts = hand_made([[0, 0], [0, 0]]).rollouts
    almost = float(torch.nextafter(torch.tensor(0.1), torch.tensor(1.0)))
    assert zero_advantage("rloo", rewards_of([[0.1, 0.1], [0.1, almost]]), rollouts) == [[True, False]]


def test_unscorable_is_not_wrong():
    """The same group with the unscorable row counted as wrong would carry signal."""
    inputs = hand_made([[1, 2, 1], [1, 0, 1]])
    assert zero_advantage("rloo", true_reward(inputs), inputs.rollouts) == [[True, False]]


# Tokens 1, 2, 3 of each row are drawn, token 0 is the prompt.
BY_TOKEN = torch.tensor([[0.0, -1.0, 0.0, -2.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, -3.0, 0.0]])


def with_tokens(name, scale):
    """One group of three, rewards 1 0 0, and what single tokens cost on top."""
    rollouts = hand_made([[1, 0, 0]]).rollouts
    rewards = replace(rewards_of([[1.0, 0.0, 0.0]]), token=BY_TOKEN)
    return ALGORITHMS[name].advantage(rewards, None, rollouts, algo(name, scale=scale))[:, 1:]


def test_reinforce_judges_a_token_by_what_follows_it():
    expected = torch.tensor([[1 - 3.0, 1 - 2.0, 1 - 2.0], [0.0, 0.0, 0.0], [-3.0, -3.0, 0.0]])
    torch.testing.assert_close(with_tokens("reinforce", "none"), expected)


def test_reinforce_pp_centres_on_the_mean_over_all_tokens_and_divides_by_their_deviation():
    earned = torch.tensor([[-2.0, -1.0, -1.0], [0.0, 0.0, 0.0], [-3.0, -3.0, 0.0]])
    torch.testing.assert_close(with_tokens("reinforce_pp", "none"), earned + 10 / 9)
    deviation = earned.std(correction=0)
    torch.testing.assert_close(with_tokens("reinforce_pp", "batch"), (earned + 10 / 9) / deviation)


def test_group_baselines_judge_a_completion_as_a_whole():
    """Rewards 1 0 0 and costs 3 0 3: returns -2 0 -3, mean -5/3."""
    torch.testing.assert_close(with_tokens("grpo", "none")[:, 0], torch.tensor([-1 / 3, 5 / 3, -4 / 3]))
    torch.testing.assert_close(with_tokens("rloo", "none")[:, 0], torch.tensor([-0.5, 2.5, -2.0]))


@pytest.mark.parametrize("name", ["reinforce", "expert_iteration", "sft"])
def test_without_a_baseline_a_group_that_is_all_right_carries_signal_and_one_all_wrong_does_not(name):
    rollouts = hand_made([[1, 1], [0, 0], [2, 2]]).rollouts
    rewards = rewards_of([[1.0, 1.0], [0.0, 0.0], [NAN, NAN]])
    assert zero_advantage(name, rewards, rollouts) == [[False, True, True]]


def test_reinforce_pp_finds_signal_where_a_groups_rewards_differ_from_the_steps_mean():
    rollouts = hand_made([[1, 1], [0, 0]]).rollouts
    assert zero_advantage("reinforce_pp", rewards_of([[1.0, 1.0], [0.0, 0.0]]), rollouts) == [[False, False]]
    assert zero_advantage("reinforce_pp", rewards_of([[0.1, 0.1], [0.1, 0.1]]), rollouts) == [[True, True]]
