"""The critic: what a completion may be expected to earn, before each of its tokens.

It starts as a copy of the policy whose head is zero, so that it expects nothing of anything, and shares no weight with
it. Its value is the logit of one reserved id, trained by the policy's optimizer on the step's rollouts towards what GAE
makes of them (PPO: Schulman et al., arXiv 1707.06347, section 5). Where an algorithm has none, each function here
passes that on.
"""

import copy

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.config.schema import AlgoConfig, OptimConfig
from harness.core.types import Batch, Credit, Rollouts
from harness.policy.logprobs import completion_logits
from harness.policy.transformer import Transformer
from harness.train.advantages import masked_mean, surprises
from harness.train.losses import ValueInputs, value_loss
from harness.train.optim import parameter_groups
from harness.train.state import TrainState

VALUE = 7  # a reserved id, which no document holds


def add_critic(state: TrainState, algo: AlgoConfig, optim: OptimConfig) -> None:
    """Gives the state a critic, if the algorithm has one, and hands its weights to the optimizer."""
    if algo.critic is None:
        return
    state.critic = copy.deepcopy(state.policy)
    torch.nn.init.zeros_(state.critic.head)
    for group in parameter_groups(state.critic, optim, algo.critic.lr_factor):
        state.optimizer.add_param_group(group)


@torch.no_grad()
def token_values(critic: Transformer | None, rollouts: Rollouts) -> Tensor | None:
    """[B, T]: what is expected before ids[t], given ids[:t]; 0 where nothing was drawn."""
    if critic is None:
        return None
    ids = rollouts.ids.unflatten(0, (rollouts.seeds, -1))
    values = F.pad(critic(ids[..., :-1])[..., VALUE], (1, 0))
    return values.flatten(0, 1) * rollouts.loss_mask


def token_returns(credit: Credit, values: Tensor | None, rollouts: Rollouts, algo: AlgoConfig) -> Tensor | None:
    """[B, T]: what the value of a drawn token should have been, by GAE."""
    if values is None or algo.critic is None:
        return None
    return values + surprises(credit, values, rollouts, algo.critic)


def value_losses(critic: Transformer | None, part: Batch, algo: AlgoConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and metrics of a micro-batch, sums over its tokens, [S] each."""
    if critic is None or algo.critic is None or part.values is None or part.returns is None:
        return torch.zeros_like(part.denominator), {}
    given = (part.prompts, part.prompt_length, part.completions, part.loss_mask, part.fixed)
    values = completion_logits(critic, *given)[..., VALUE]
    inputs = ValueInputs(values, part.values, part.returns, part.loss_mask, part.weight)
    return value_loss(inputs, algo.critic.value_clip)


def value_metrics(
    values: Tensor | None, returns: Tensor | None, rollouts: Rollouts, scorable: Tensor
) -> dict[str, Tensor]:
    """explained_variance [S]: 1 - var(return - value) / var(return) over the step's tokens, before the update."""
    if values is None or returns is None:
        return {}
    valid = (rollouts.loss_mask & scorable[:, None]).view(rollouts.seeds, -1)
    variance = lambda x: masked_mean((x - masked_mean(x, valid)[0]) ** 2, valid)[0][:, 0]  # noqa: E731
    by_seed = lambda x: x.view(rollouts.seeds, -1)  # noqa: E731
    return {"explained_variance": 1 - variance(by_seed(returns - values)) / variance(by_seed(returns))}
