"""Policies that a step does not update: the reference that KL is measured from, and an off-policy sampler."""

import copy

import torch
from torch import Tensor

from harness.core.types import Rollouts
from harness.policy.transformer import Transformer
from harness.train.state import TrainState


@torch.no_grad()
def reference_logprobs(state: TrainState, rollouts: Rollouts, temperature: float) -> Tensor | None:
    """[B, T], of ids[t] given ids[:t] at this temperature, 0 where nothing was drawn; None without a reference."""
    if state.reference is None:
        return None
    logprobs = state.backend.token_logprobs(state.reference, rollouts.by_seed(rollouts.ids), temperature)
    return logprobs.flatten(0, 1) * rollouts.loss_mask


def behavior_policy(state: TrainState, off_policy_steps: int) -> Transformer:
    """The policy as it was so many updates ago, or at first where there were fewer (PipelineRL, arXiv 2509.19128).
    Call it once a step: it keeps the weights that later steps will need in state.past_weights, oldest first."""
    if off_policy_steps == 0:
        return state.policy
    now = {name: weight.detach().clone() for name, weight in state.policy.state_dict().items()}
    state.past_weights = [*state.past_weights, now][-(off_policy_steps + 1) :]
    state.sampling_policy = state.sampling_policy or copy.deepcopy(state.policy)
    state.sampling_policy.load_state_dict(state.past_weights[0])
    return state.sampling_policy
