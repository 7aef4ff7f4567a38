"""Rewards -> advantages, [B, T]: the factor on the gradient of each token.

Pure functions of the step's rewards and rollouts. Groups are contiguous, so a group reduction is a reshape to
[S, P, G]; nothing reduces over the seed axis. Unscorable rows (NaN) take no part in any baseline and get 0.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from harness.config.schema import AlgoConfig, CriticConfig
from harness.core.types import Rewards, Rollouts

Advantage = Callable[[Rewards, Tensor | None, Rollouts, AlgoConfig], Tensor]


def masked_mean(x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over the last axis of valid entries, and their count; both keep the axis."""
    count = valid.sum(-1, keepdim=True)
    return torch.where(valid, x, 0.0).sum(-1, keepdim=True) / count.clamp(min=1), count


def all_equal(x: Tensor, valid: Tensor) -> Tensor:
    """Whether the valid entries along the last axis, which stays, are exactly equal; also where there is none."""
    high = torch.where(valid, x, -torch.inf).amax(-1, keepdim=True)
    low = torch.where(valid, x, torch.inf).amin(-1, keepdim=True)
    return high <= low


def total_reward(rewards: Rewards) -> Tensor:
    """[B]: outcome and token rewards of a completion, summed; NaN where it is unscorable."""
    return rewards.outcome if rewards.token is None else rewards.outcome + rewards.token.sum(1)


def _scaled(centred: Tensor, valid: Tensor, scale: str) -> Tensor:
    """centred [S, P, G] over the standard deviation configured; exact zeros stay zero."""
    if scale == "none":
        return centred
    if scale == "group":
        variance = masked_mean(centred**2, valid)[0]
    else:
        variance = masked_mean(centred.flatten(1) ** 2, valid.flatten(1))[0].unsqueeze(-1)
    return torch.where(variance > 0, centred * variance.clamp(min=1e-12).rsqrt(), 0.0)


def _centred(reward: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Deviations from the group's mean, and the count behind it. Equal rewards give exactly 0: the rounding of their
    mean must not become a gradient once it is divided by a tiny deviation."""
    mean, count = masked_mean(reward, valid)
    return torch.where(valid & ~all_equal(reward, valid), reward - mean, 0.0), count


def _per_token(per_row: Tensor, rollouts: Rollouts) -> Tensor:
    """[S, P, G] -> [B, T] on the tokens that the policy drew."""
    return per_row.flatten()[:, None] * rollouts.loss_mask


def leave_one_out(rewards: Rewards, values: Tensor | None, rollouts: Rollouts, config: AlgoConfig) -> Tensor:
    """r_i - mean of the others (RLOO: Ahmadian et al., arXiv 2402.14740, section 3.4)."""
    reward = rollouts.grouped(total_reward(rewards))
    valid = ~reward.isnan()
    centred, count = _centred(reward, valid)
    centred = centred * count / (count - 1).clamp(min=1)
    return _per_token(_scaled(centred, valid, config.scale), rollouts)


def group_mean(rewards: Rewards, values: Tensor | None, rollouts: Rollouts, config: AlgoConfig) -> Tensor:
    """r_i - mean of the group (GRPO: Shao et al., arXiv 2402.03300, section 4.1.2)."""
    reward = rollouts.grouped(total_reward(rewards))
    valid = ~reward.isnan()
    return _per_token(_scaled(_centred(reward, valid)[0], valid, config.scale), rollouts)


def reward_to_go(rewards: Rewards, values: Tensor | None, rollouts: Rollouts, config: AlgoConfig) -> Tensor:
    """The reward of a token and of those after it, without a baseline (REINFORCE: Williams 1992)."""
    to_go = rewards.outcome[:, None].expand(-1, rollouts.ids.shape[1])
    if rewards.token is not None:
        to_go = to_go + rewards.token.flip(1).cumsum(1).flip(1)
    return torch.where(rollouts.loss_mask, to_go.nan_to_num(0.0), 0.0)


def _standardise_over_batch(x: Tensor, rewards: Rewards, rollouts: Rollouts, scale: str) -> Tensor:
    """x [B, T] minus its mean over all tokens of the seed's step, over the deviation configured."""
    shape = (rollouts.seeds, 1, -1)
    valid = (rollouts.loss_mask & ~rewards.outcome.isnan()[:, None]).view(shape)
    centred, _ = _centred(x.view(shape), valid)
    return _scaled(centred, valid, scale).view_as(x)


def batch_mean(rewards: Rewards, values: Tensor | None, rollouts: Rollouts, config: AlgoConfig) -> Tensor:
    """Reward to go minus its mean over all tokens of the seed's step, over their deviation (REINFORCE++: Hu et al.,
    arXiv 2501.03262, eq. 9)."""
    to_go = reward_to_go(rewards, values, rollouts, config)
    return _standardise_over_batch(to_go, rewards, rollouts, config.scale)


def gae(rewards: Rewards, values: Tensor, rollouts: Rollouts, critic: CriticConfig) -> Tensor:
    """Generalised advantage estimation (Schulman et al., arXiv 1506.02438, eq. 16), [B, T]; 0 on unscorable rows and on
    tokens that the policy did not draw.

    values [B, T] stand before each drawn token. An episode ends with its last one, truncated or not, and the value
    after it is 0. Text of the environment takes no time: its reward counts for the token before it.
    """
    token = torch.zeros_like(values) if rewards.token is None else rewards.token
    reward, estimates = rewards.outcome, []
    estimate = next_value = torch.zeros_like(reward)
    for t in reversed(range(values.shape[1])):
        drawn, reward = rollouts.loss_mask[:, t], reward + token[:, t]
        td_error = reward + critic.discount * next_value - values[:, t]
        estimate = torch.where(drawn, td_error + critic.discount * critic.gae_lambda * estimate, estimate)
        next_value = torch.where(drawn, values[:, t], next_value)
        reward = torch.where(drawn, 0.0, reward)
        estimates.append(torch.where(drawn, estimate, 0.0))
    return torch.stack(estimates[::-1], dim=1).masked_fill(rewards.outcome.isnan()[:, None], 0.0)


def gae_advantage(rewards: Rewards, values: Tensor | None, rollouts: Rollouts, config: AlgoConfig) -> Tensor:
    """GAE against a critic's values, standardised over the tokens of the seed's step as PPO's implementations do it
    (Andrychowicz et al., arXiv 2006.05990, section 3.4)."""
    assert values is not None
    assert config.critic is not None
    return _standardise_over_batch(gae(rewards, values, rollouts, config.critic), rewards, rollouts, config.scale)


def token_returns(rewards: Rewards, values: Tensor | None, rollouts: Rollouts, algo: AlgoConfig) -> Tensor | None:
    """[B, T]: the targets of the values of drawn tokens, by GAE; None without a critic."""
    if values is None or algo.critic is None:
        return None
    return values + gae(rewards, values, rollouts, algo.critic)
