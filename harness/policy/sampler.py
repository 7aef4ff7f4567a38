"""Draws completions: prefill each prompt once, expand its cache to the group, then one token at a time.

Tokens are drawn by inverse CDF from keyed uniforms at temperature alone, and the log-probabilities returned are those
of the law that drew them: the trainer's agree to rounding, so the ratio of the first update is 1. Top-k and top-p are
not offered, because the trainer's full softmax would then be another law.

A policy that thinks has a budget: after so many tokens without ANSWER, ANSWER is put next (budget forcing, as
in s1, arXiv 2501.19393), and the tokens of the answer begin to count.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from harness.core.types import StopReason
from harness.policy.attention import of_bundles
from harness.policy.backends import cuda_graphs as graphs
from harness.policy.backends import native
from harness.policy.tokenizer import ANSWER, EOS
from harness.policy.transformer import Transformer

# Finished bundles leave the batch once no more than this share of it lives: leaving copies what stays.
FULL_ENOUGH = 0.8


@dataclass(frozen=True)
class Completions:
    """[S, R, C] tokens, right-padded with 0, where R counts prompts x group size."""

    ids: Tensor
    logprobs: Tensor  # 0 where the token was forced
    drawn: Tensor  # bool: tokens that the policy drew
    length: Tensor  # [S, R], stop token and forced token included
    stop_reason: Tensor  # [S, R]


def draw(logits: Tensor, uniform: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Inverse-CDF sample: logits [..., V], uniform [...] -> (ids [...], logprobs [...]) at this temperature."""
    logprobs = (logits / temperature).log_softmax(-1)
    cdf = logprobs.exp().cumsum_(-1)
    # Scaled by the last entry: rounding may leave it a hair off 1.
    ids = torch.searchsorted(cdf, uniform.unsqueeze(-1) * cdf[..., -1:]).clamp_(max=logits.shape[-1] - 1)
    return ids.squeeze(-1), logprobs.gather(-1, ids).squeeze(-1)


@torch.no_grad()
def sample(
    policy: Transformer,
    prompts: Tensor,
    length: Tensor,
    group_size: int,
    max_tokens: int,
    temperature: float,
    uniforms: Tensor,
    active: Tensor | None = None,
    thinking: int | None = None,
) -> Completions:
    """Completions of right-padded prompts, of at most max_tokens tokens.

    With `thinking` these are the tokens of the answer; up to `thinking` tokens, and ANSWER, may come before. prompts
    [S, P, T], length [S, P], uniforms [S, P·group_size, all tokens that a row may have]; rows where `active`
    [S, P·group_size] is False get no token.
    """
    rows, room = (prompts.shape[0], prompts.shape[1] * group_size), uniforms.shape[-1]
    if active is None:
        active = torch.ones(rows, dtype=torch.bool, device=prompts.device)
    if native.supports(policy):
        settings = (max_tokens, temperature, uniforms, active, thinking, EOS, ANSWER)
        return _completions(*native.sample(policy, prompts, length, group_size, *settings))
    settings = (group_size, max_tokens, temperature, thinking)
    given = {"prompts": prompts, "length": length, "uniforms": uniforms, "alive": active}
    if room <= graphs.LONGEST and graphs.serves(policy):
        work = partial(_drawn, policy, *settings, leave=False)
        return _completions(*graphs.recorded(policy, ("sample", *settings), work, given))
    return _completions(*_drawn(policy, *settings, leave=True, **given))


def _drawn(
    policy: Transformer,
    group_size: int,
    max_tokens: int,
    temperature: float,
    thinking: int | None,
    leave: bool,
    prompts: Tensor,
    length: Tensor,
    uniforms: Tensor,
    alive: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """ids, log-probabilities, which tokens were taken, and which of them drawn, each [S, R, room]. Rows that have ended
    leave the batch, if they are to, and the loop ends with the last."""
    (s, rows), room, device = alive.shape, uniforms.shape[-1], prompts.device
    weights = policy.weights()
    last, cache = policy.prefill(prompts, length, group_size, room, weights)
    logits = policy.logits(last).repeat_interleave(group_size, dim=1)  # [S, rows, V]
    ids = torch.zeros((s, rows, room), dtype=torch.int64, device=device)
    logprobs, taken = torch.zeros(ids.shape, device=device), torch.zeros_like(ids, dtype=torch.bool)
    drawn = torch.zeros_like(taken)
    answering = torch.full_like(alive, thinking is None)
    left = torch.full((s, rows), max_tokens, device=device)  # for the answer
    at = torch.arange(rows, device=device).expand(s, rows)  # where the rows at hand stand among all
    for c in range(room):
        token, logprob = draw(logits, uniforms[..., c].gather(1, at), temperature)
        forced = ~answering if c == thinking else torch.zeros_like(answering)
        token, own = token.masked_fill(forced, ANSWER), alive & ~forced
        for out, value in ((ids, token * alive), (logprobs, logprob * own), (taken, alive), (drawn, own)):
            out[..., c].scatter_(1, at, value)
        if c + 1 == room:
            break
        left = left - answering.long()
        alive = alive & (token != EOS) & (left > 0)
        answering = answering | (token == ANSWER)
        if leave:
            living = alive.unflatten(1, (-1, cache.bundle)).any(-1)
            most = int(living.sum(1).max())
            if most == 0:
                break
            if most <= FULL_ENOUGH * living.shape[1]:
                kept = living.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :most]  # all keep as many
                cache = cache.keep(kept)
                rows_at_hand = (at, alive, token, answering, left)
                at, alive, token, answering, left = (of_bundles(x, kept, cache.bundle) for x in rows_at_hand)
        logits = policy.logits(policy.decode(token, cache, weights))
    return ids, logprobs, taken, drawn


def _completions(ids: Tensor, logprobs: Tensor, taken: Tensor, drawn: Tensor) -> Completions:
    stopped = ((ids == EOS) & taken).any(-1)
    reason = torch.where(stopped, int(StopReason.STOP), int(StopReason.LENGTH))
    return Completions(ids, logprobs, drawn, taken.sum(-1), reason)
