"""Credit -> advantage, [B, T]: what multiplies the gradient of each token.

Pure functions of the step's credit and rollouts. Groups are contiguous, so a group reduction is a reshape to
[S, P, G]; nothing reduces over the seed axis. Unscorable rows (NaN) take no part in any baseline and get 0.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from harness.config import AlgoConfig
from harness.types import Credit, Rollouts


def group_mean(x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over the last axis of valid entries, and their count; both keep the axis."""
    count = valid.sum(-1, keepdim=True)
    return torch.where(valid, x, 0.0).sum(-1, keepdim=True) / count.clamp(min=1), count


def silent_groups(credit: Credit, rollouts: Rollouts) -> Tensor:
    """[S, P] bool: all scorable base rewards of the group are exactly equal, so that no advantage is left."""
    base = rollouts.grouped(credit.base)
    valid = ~base.isnan()
    high = torch.where(valid, base, -torch.inf).amax(-1)
    low = torch.where(valid, base, torch.inf).amin(-1)
    return high <= low  # also where no row is scorable


def _scaled(centred: Tensor, valid: Tensor, scale: str) -> Tensor:
    """centred [S, P, G] over the standard deviation asked for; exact zeros stay zero."""
    if scale == "none":
        return centred
    if scale == "group":
        variance = group_mean(centred**2, valid)[0]
    else:
        variance = group_mean(centred.flatten(1) ** 2, valid.flatten(1))[0].unsqueeze(-1)
    return torch.where(variance > 0, centred * variance.clamp(min=1e-12).rsqrt(), 0.0)


def _spread(per_row: Tensor, rollouts: Rollouts) -> Tensor:
    """[S, P, G] -> [B, T] on the tokens that the policy drew."""
    return per_row.flatten()[:, None] * rollouts.loss_mask


def rloo(credit: Credit, values: Tensor | None, rollouts: Rollouts, config: AlgoConfig) -> Tensor:
    """Leave-one-out baseline: r_i - mean of the others (Ahmadian et al., arXiv 2402.14740, eq. 8)."""
    reward = rollouts.grouped(credit.outcome)
    valid = ~reward.isnan()
    mean, count = group_mean(reward, valid)
    centred = torch.where(valid, reward - mean, 0.0) * count / (count - 1).clamp(min=1)
    return _spread(_scaled(_exact_zero(centred, credit, rollouts), valid, config.scale), rollouts)


def grpo(credit: Credit, values: Tensor | None, rollouts: Rollouts, config: AlgoConfig) -> Tensor:
    """Group mean as baseline, scaled by the group's standard deviation unless told otherwise (Shao et al.,
    arXiv 2402.03300, section 4.1.2; without the scale it is Dr. GRPO's, arXiv 2503.20783)."""
    reward = rollouts.grouped(credit.outcome)
    valid = ~reward.isnan()
    centred = torch.where(valid, reward - group_mean(reward, valid)[0], 0.0)
    return _spread(_scaled(_exact_zero(centred, credit, rollouts), valid, config.scale), rollouts)


def _exact_zero(centred: Tensor, credit: Credit, rollouts: Rollouts) -> Tensor:
    """Rounding of a mean of equal rewards must not become a gradient once it is divided by a tiny deviation."""
    reward = rollouts.grouped(credit.outcome)
    equal = silent_groups(Credit(base=credit.outcome, outcome=credit.outcome), rollouts)
    return torch.where(equal[..., None] | reward.isnan(), 0.0, centred)


Advantage = Callable[[Credit, Tensor | None, Rollouts, AlgoConfig], Tensor]
ADVANTAGES: dict[str, Advantage] = {"rloo": rloo, "grpo": grpo}
