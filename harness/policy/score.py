"""Log-probabilities of given tokens, under the law that the sampler draws from."""

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.policy.transformer import Transformer


def score(policy: Transformer, ids: Tensor, temperature: float) -> Tensor:
    """log p(ids[t] | ids[:t]) at this temperature, [S, R, T]; 0 at t = 0, which nothing precedes."""
    logits = policy.logits(policy.hidden(ids[..., :-1])) / temperature
    target = ids[..., 1:]
    logprobs = -F.cross_entropy(logits.flatten(0, -2), target.flatten(), reduction="none").view(target.shape)
    return F.pad(logprobs, (1, 0))


@torch.no_grad()
def answer_logprobs(policy: Transformer, ids: Tensor, mask: Tensor) -> Tensor:
    """Summed log-probability at temperature 1 of the masked tokens of each row: ids, mask [S, R, T] -> [S, R]."""
    return torch.where(mask, score(policy, ids, 1.0), 0.0).sum(-1)
