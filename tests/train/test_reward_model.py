"""The reward that is learned from preferences: what it learns, and what noise makes of it."""

import copy

import pytest
import torch

from envs.vector import TextVectorEnv
from harness.core.seeding import Key
from harness.run.mixture import training_mixture
from harness.train.reward_model import predicted_reward, preference_loss, preferred, train_reward_model
from harness.train.rl import rl_step
from harness.train.rollout import training_sampling
from tests.toys import tiny, toy_state
from tests.train.test_algorithms import LOUD
from tests.train.toy_rollouts import played, toy_problems

# One token a completion, which is right or wrong by itself: quickly learned.
SETTINGS = (*LOUD, "sampling.max_new_tokens=1", "reward=learned_reward")


def learned(*settings, seeds=(0,)):
    """Configuration and state with a trained reward model, and what a step needs."""
    config = tiny(*SETTINGS, "reward.model.lr=1e-2", "reward.model.steps=25", *settings)
    state = toy_state(*seeds, optim=config.optim)
    state.reward_model = copy.deepcopy(state.policy)
    mixture = training_mixture(config)
    env = TextVectorEnv(128 * len(seeds), mixture.tasks[0])
    train_reward_model(config, state, env, mixture, training_sampling(config, mixture))
    return config, state, env, mixture


def separation(state):
    """How often a right completion outscores a wrong one, on fresh problems."""
    rollouts, results = played(state, toy_problems(60), tokens=1)
    scores, right = predicted_reward(state, rollouts), results.correctness == 1
    return (scores[right][:, None] > scores[~right]).float().mean().item()


def test_it_learns_to_rank_right_above_wrong_and_with_labels_at_random_it_does_not():
    assert separation(learned("reward.model.label_noise=0.0")[1]) > 0.9
    assert abs(separation(learned("reward.model.label_noise=0.5")[1]) - 0.5) < 0.3


def test_rl_on_it_raises_the_gold_score():
    config, state, env, mixture = learned("reward.model.label_noise=0.1")
    frozen = [w.clone() for w in state.reward_model.parameters()]
    accuracy = [rl_step(config, state, env, mixture).metrics["accuracy"].item() for _ in range(12)]
    assert sum(accuracy[-3:]) / 3 > sum(accuracy[:2]) / 2 + 0.2
    assert all(torch.equal(a, b) for a, b in zip(frozen, state.reward_model.parameters()))


def test_a_preference_is_for_the_right_one_but_for_the_noise_and_a_coin_where_both_are_alike():
    correct = torch.tensor([[True, False], [False, True], [True, True], [False, False]])
    many = correct.repeat_interleave(4000, dim=0)[None]
    share = preferred(many, 0.2, (Key("preference_labels", 0),)).view(4, 4000).float().mean(1)
    torch.testing.assert_close(share, torch.tensor([0.8, 0.2, 0.5, 0.5]), rtol=0, atol=0.04)


def test_the_loss_by_hand():
    """Scores 2 1 and 0 3; the first is preferred in both pairs: -log σ(1) and -log σ(-3)."""
    loss = preference_loss(torch.tensor([[[2.0, 1.0], [0.0, 3.0]]]), torch.tensor([[True, True]]))
    assert loss.item() == pytest.approx((0.313262 + 3.048587) / 2, abs=1e-5)


def test_a_score_is_read_at_the_last_token_whatever_is_padded():
    state = toy_state(0)
    with torch.no_grad():
        state.policy.head[:, :, 2] += 0.6  # EOS, often
    rollouts, _ = played(state, toy_problems(6))
    assert len(set(rollouts.length.tolist())) > 1
    state.reward_model = state.policy
    scores = predicted_reward(state, rollouts)
    for row in range(0, rollouts.rows, 5):
        ids = rollouts.ids[row, : rollouts.length[row]]
        assert scores[row].item() == pytest.approx(state.policy(ids[None, None])[0, 0, -1, 6].item(), abs=1e-5)


def test_stacked_seeds_learn_the_rewards_that_they_would_alone():
    _, together, _, _ = learned("reward.model.steps=3", seeds=(3, 8))
    for s, seed in enumerate((3, 8)):
        _, alone, _, _ = learned("reward.model.steps=3", seeds=(seed,))
        for a, b in zip(together.reward_model.parameters(), alone.reward_model.parameters()):
            torch.testing.assert_close(a[s], b[0], rtol=0, atol=1e-4)
