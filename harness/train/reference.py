"""Policies that do not learn in a step: the reference that KL is measured from, and a sampler that lags behind."""

import copy

import torch
from torch import Tensor

from harness.core.types import Rollouts
from harness.policy.logprobs import score
from harness.policy.transformer import Transformer
from harness.train.state import TrainState


@torch.no_grad()
def reference_logprobs(reference: Transformer | None, rollouts: Rollouts, temperature: float) -> Tensor | None:
    """[B, T], of ids[t] given ids[:t] at this temperature, 0 where nothing was drawn; None without a reference."""
    if reference is None:
        return None
    ids = rollouts.ids.unflatten(0, (rollouts.seeds, -1))
    return score(reference, ids, temperature).flatten(0, 1) * rollouts.loss_mask


def lagged_policy(state: TrainState, lag: int) -> Transformer:
    """The policy as it was `lag` updates ago, or as it began where there were fewer (PipelineRL, arXiv 2509.19128).
    Call it once a step: it keeps the weights that later steps will need in state.lagged, oldest first."""
    if lag == 0:
        return state.policy
    now = {name: weight.detach().clone() for name, weight in state.policy.state_dict().items()}
    state.lagged = [*state.lagged, now][-(lag + 1) :]
    state.stale = state.stale or copy.deepcopy(state.policy)
    state.stale.load_state_dict(state.lagged[0])
    return state.stale
