"""Credit -> advantage, [B, T]: what multiplies the gradient of each token.

Pure functions of the step's credit and rollouts. Groups are contiguous, so a group reduction is a reshape to
[S, P, G]; nothing reduces over the seed axis. Unscorable rows (NaN) take no part in any baseline and get 0.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from harness.config.schema import AlgoConfig, CriticConfig
from harness.core.types import Credit, Rollouts

Advantage = Callable[[Credit, Tensor | None, Rollouts, AlgoConfig], Tensor]


def masked_mean(x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over the last axis of valid entries, and their count; both keep the axis."""
    count = valid.sum(-1, keepdim=True)
    return torch.where(valid, x, 0.0).sum(-1, keepdim=True) / count.clamp(min=1), count


def all_equal(x: Tensor, valid: Tensor) -> Tensor:
    """Whether the valid entries along the last axis, which stays, are exactly equal; also where there is none."""
    high = torch.where(valid, x, -torch.inf).amax(-1, keepdim=True)
    low = torch.where(valid, x, torch.inf).amin(-1, keepdim=True)
    return high <= low


def silent_groups(
    advantage: Advantage,
    credit: Credit,
    rollouts: Rollouts,
    config: AlgoConfig,
    values: Tensor | None = None,
    known: Tensor | None = None,
) -> Tensor:
    """[S, P] bool: every advantage of the group is exactly zero under its base reward, before shaping and KL. `known`:
    the advantages under this credit, which are just those where nothing shapes it."""
    plain = known if credit.outcome is credit.base and credit.token is None else None
    if plain is None:
        plain = advantage(Credit(base=credit.base, outcome=credit.base), values, rollouts, config)
    return (rollouts.grouped(plain) == 0).flatten(2).all(-1)


def whole_return(credit: Credit) -> Tensor:
    """[B]: what a completion as a whole earned; NaN where it is unscorable."""
    return credit.outcome if credit.token is None else credit.outcome + credit.token.sum(1)


def _scaled(centred: Tensor, valid: Tensor, scale: str) -> Tensor:
    """centred [S, P, G] over the standard deviation asked for; exact zeros stay zero."""
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


def _spread(per_row: Tensor, rollouts: Rollouts) -> Tensor:
    """[S, P, G] -> [B, T] on the tokens that the policy drew."""
    return per_row.flatten()[:, None] * rollouts.loss_mask


def leave_one_out(credit: Credit, values: Tensor | None, rollouts: Rollouts, config: AlgoConfig) -> Tensor:
    """r_i - mean of the others (RLOO: Ahmadian et al., arXiv 2402.14740, section 3.4)."""
    reward = rollouts.grouped(whole_return(credit))
    valid = ~reward.isnan()
    centred, count = _centred(reward, valid)
    centred = centred * count / (count - 1).clamp(min=1)
    return _spread(_scaled(centred, valid, config.scale), rollouts)


def group_mean(credit: Credit, values: Tensor | None, rollouts: Rollouts, config: AlgoConfig) -> Tensor:
    """r_i - mean of the group (GRPO: Shao et al., arXiv 2402.03300, section 4.1.2)."""
    reward = rollouts.grouped(whole_return(credit))
    valid = ~reward.isnan()
    return _spread(_scaled(_centred(reward, valid)[0], valid, config.scale), rollouts)


def to_go(credit: Credit, values: Tensor | None, rollouts: Rollouts, config: AlgoConfig) -> Tensor:
    """What a token and those after it earned, without a baseline (REINFORCE: Williams 1992)."""
    earned = credit.outcome[:, None].expand(-1, rollouts.ids.shape[1])
    if credit.token is not None:
        earned = earned + credit.token.flip(1).cumsum(1).flip(1)
    return torch.where(rollouts.loss_mask, earned.nan_to_num(0.0), 0.0)


def _over_the_step(earned: Tensor, credit: Credit, rollouts: Rollouts, scale: str) -> Tensor:
    """[B, T] minus its mean over all tokens of the seed's step, over the deviation asked for."""
    by_seed = lambda x: x.view(rollouts.seeds, 1, -1)  # noqa: E731
    valid = by_seed(rollouts.loss_mask & ~credit.outcome.isnan()[:, None])
    centred, _ = _centred(by_seed(earned), valid)
    return _scaled(centred, valid, scale).view_as(earned)


def batch_mean(credit: Credit, values: Tensor | None, rollouts: Rollouts, config: AlgoConfig) -> Tensor:
    """What is still to come, minus its mean over all tokens of the seed's step, over their deviation (REINFORCE++:
    Hu et al., arXiv 2501.03262, eq. 9)."""
    return _over_the_step(to_go(credit, values, rollouts, config), credit, rollouts, config.scale)


def surprises(credit: Credit, values: Tensor, rollouts: Rollouts, critic: CriticConfig) -> Tensor:
    """GAE: what a drawn token and those after it earned beyond what was expected before it, discounted (Schulman et
    al., arXiv 1506.02438, eq. 16); 0 elsewhere and on unscorable rows.

    values [B, T] stand before each drawn token. An episode ends with its last one, cut off or not, and what follows is
    worth 0. Text of the environment takes no time: what it earned counts for the token before it.
    """
    token = torch.zeros_like(values) if credit.token is None else credit.token
    earned, found = credit.outcome, []
    surprise = after = torch.zeros_like(earned)
    for t in reversed(range(values.shape[1])):
        drawn, earned = rollouts.loss_mask[:, t], earned + token[:, t]
        error = earned + critic.discount * after - values[:, t]
        surprise = torch.where(drawn, error + critic.discount * critic.gae_lambda * surprise, surprise)
        after = torch.where(drawn, values[:, t], after)
        earned = torch.where(drawn, 0.0, earned)
        found.append(torch.where(drawn, surprise, 0.0))
    return torch.stack(found[::-1], dim=1).masked_fill(credit.outcome.isnan()[:, None], 0.0)


def beyond_expected(credit: Credit, values: Tensor | None, rollouts: Rollouts, config: AlgoConfig) -> Tensor:
    """GAE against a critic's values, standardised over the tokens of the seed's step as PPO's implementations do it
    (Andrychowicz et al., arXiv 2006.05990, section 3.4)."""
    assert values is not None
    assert config.critic is not None
    return _over_the_step(surprises(credit, values, rollouts, config.critic), credit, rollouts, config.scale)
