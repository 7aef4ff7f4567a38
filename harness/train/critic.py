"""The critic: the expected reward of a completion, before each of its tokens.

It starts as a copy of the policy whose head is zero, so that every value is 0, and shares no weight with it. Its value
is the logit of one reserved id, trained by the policy's optimizer on the step's rollouts towards the returns of GAE
(PPO: Schulman et al., arXiv 1707.06347, section 5). Without a critic the functions here return None or zeros.
"""

import copy

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.config.schema import AlgoConfig, OptimConfig
from harness.core.types import Batch, Rollouts
from harness.train.advantages import masked_mean
from harness.train.batch import ScoredRollouts
from harness.train.losses import per_seed
from harness.train.optim import parameter_groups
from harness.train.state import TrainState

VALUE = 7  # a reserved id, which no document contains


def add_critic(state: TrainState, algo: AlgoConfig, optim: OptimConfig) -> None:
    """Adds a critic to the state, if the algorithm has one, and its weights to the optimizer."""
    if algo.critic is None:
        return
    state.critic = copy.deepcopy(state.policy)
    torch.nn.init.zeros_(state.critic.head)
    for group in parameter_groups(state.critic, optim, algo.critic.lr_factor):
        state.optimizer.add_param_group(group)


@torch.no_grad()
def token_values(state: TrainState, rollouts: Rollouts) -> Tensor | None:
    """[B, T]: the value before ids[t], given ids[:t]; 0 where nothing was drawn. None without a critic."""
    critic = state.critic
    if critic is None:
        return None
    hidden = state.backend.hidden(critic, rollouts.by_seed(rollouts.ids)[..., :-1])
    values = F.pad(critic.logits(hidden)[..., VALUE], (1, 0))
    return values.flatten(0, 1) * rollouts.loss_mask


def critic_loss(state: TrainState, part: Batch, algo: AlgoConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and metrics of a micro-batch, sums over its tokens, [S] each; zero without a critic."""
    critic = state.critic
    if critic is None or algo.critic is None or part.values is None or part.returns is None:
        return torch.zeros_like(part.denominator), {}
    values = critic.logits(state.backend.completion_hidden(critic, part))[..., VALUE]
    return value_loss(values, part.values, part.returns, part, algo.critic.value_clip)


def value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, part: Batch, clip: float | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """½ (value - return)², all [S, R, C], old_values those before the step; with a clip the larger of that and the
    same for the value clipped to within `clip` of the old one (Engstrom et al., arXiv 2005.12729, section 3)."""
    error = (values - returns) ** 2
    if clip is not None:
        clipped = old_values + (values - old_values).clamp(-clip, clip)
        error = torch.maximum(error, (clipped - returns) ** 2)
    loss = 0.5 * per_seed(error * part.weight[..., None], part.mask)
    return loss, {"value_loss": 0.5 * per_seed(error.detach(), part.mask)}


def value_metrics(scored: ScoredRollouts) -> dict[str, Tensor]:
    """explained_variance [S]: 1 - var(return - value) / var(return) over the step's tokens, before the update. Empty
    without a critic."""
    rollouts, values, returns = scored.rollouts, scored.values, scored.returns
    if values is None or returns is None:
        return {}
    valid = rollouts.by_seed(rollouts.loss_mask & scored.scorable[:, None]).flatten(1)

    def variance(x: Tensor) -> Tensor:
        x = rollouts.by_seed(x).flatten(1)
        return masked_mean((x - masked_mean(x, valid)[0]) ** 2, valid)[0][:, 0]

    return {"explained_variance": 1 - variance(returns - values) / variance(returns)}
