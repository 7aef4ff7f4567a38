"""Samples completions: prefill each prompt once, expand its cache to the group, then decode one token at a time.

Tokens are drawn by inverse CDF from keyed uniforms, at temperature alone, and the log-probabilities returned are of the
distribution they were drawn from: the trainer's agree to rounding, so the ratio of the first update is 1. There is no
top-k or top-p, because the trainer's full softmax would then be another distribution.

A policy with scratchpads has a thinking budget: after so many tokens without ANSWER, ANSWER is forced (budget forcing,
as in s1, arXiv 2501.19393), and the tokens of the answer begin to count.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from harness.core.types import Completions, SampleRequest, StopReason
from harness.policy.attention import KVCache, select_rows
from harness.policy.tokenizer import ANSWER, EOS
from harness.policy.transformer import Transformer

# Finished rows leave the batch once at most this share of it is unfinished: leaving copies the cache of the others.
COMPACTION_SHARE = 0.8


def draw(logits: Tensor, uniform: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Inverse-CDF sample: logits [..., V], uniform [...] -> (ids [...], logprobs [...]) at this temperature."""
    logprobs = (logits / temperature).log_softmax(-1)
    cdf = logprobs.exp().cumsum_(-1)
    # Scaled by the last entry: rounding may leave it a hair off 1.
    ids = torch.searchsorted(cdf, uniform.unsqueeze(-1) * cdf[..., -1:]).clamp_(max=logits.shape[-1] - 1)
    return ids.squeeze(-1), logprobs.gather(-1, ids).squeeze(-1)


@dataclass
class _Rows:
    """The rows that are still decoded, [S, rows]."""

    index: Tensor  # among all rows
    unfinished: Tensor  # bool
    token: Tensor  # the last one
    answering: Tensor  # bool: ANSWER has come, or is not used
    answer_tokens_left: Tensor

    def select(self, subgroups: Tensor, size: int) -> "_Rows":
        return _Rows(*(select_rows(x, subgroups, size) for x in vars(self).values()))


@torch.no_grad()
def sample(policy: Transformer, request: SampleRequest, compact: bool = True) -> Completions:
    """The completions requested. With `compact`, finished rows leave the batch and the loop ends with the last one;
    without it shapes are fixed, as a CUDA graph needs them."""
    (s, rows), new_tokens, device = request.active.shape, request.uniforms.shape[-1], request.prompts.device
    weights = policy.weights()
    last, cache = policy.prefill(request.prompts, request.length, request.group_size, new_tokens, weights)
    logits = policy.logits(last).repeat_interleave(request.group_size, dim=1)  # [S, rows, V]
    ids = torch.zeros((s, rows, new_tokens), dtype=torch.int64, device=device)
    logprobs, valid = torch.zeros(ids.shape, device=device), torch.zeros_like(ids, dtype=torch.bool)
    sampled = torch.zeros_like(valid)
    at = _Rows(
        index=torch.arange(rows, device=device).expand(s, rows),
        unfinished=request.active,
        token=ids[..., 0],
        answering=torch.full_like(request.active, request.thinking is None),
        answer_tokens_left=torch.full((s, rows), request.max_answer_tokens, device=device),
    )
    for t in range(new_tokens):
        token, logprob = draw(logits, request.uniforms[..., t].gather(1, at.index), request.temperature)
        forced = ~at.answering if t == request.thinking else torch.zeros_like(at.answering)
        token, own = token.masked_fill(forced, ANSWER), at.unfinished & ~forced
        written = (ids, token * at.unfinished), (logprobs, logprob * own), (valid, at.unfinished), (sampled, own)
        for out, value in written:
            out[..., t].scatter_(1, at.index, value)
        if t + 1 == new_tokens:
            break
        left = at.answer_tokens_left - at.answering.long()
        unfinished = at.unfinished & (token != EOS) & (left > 0)
        at = _Rows(at.index, unfinished, token, at.answering | (token == ANSWER), left)
        if compact:
            at, cache = _compacted(at, cache)
            if not at.index.shape[1]:
                break
        logits = policy.logits(policy.decode(at.token, cache, weights))
    return completions_of(ids, logprobs, valid, sampled)


def _compacted(rows: _Rows, cache: KVCache) -> tuple[_Rows, KVCache]:
    """Without the subgroups that have finished, if those are enough to pay for the copy; no row where all have."""
    unfinished = rows.unfinished.unflatten(1, (-1, cache.subgroup_size)).any(-1)
    most = int(unfinished.sum(1).max())
    if most > COMPACTION_SHARE * unfinished.shape[1]:
        return rows, cache
    # Every seed keeps as many.
    selected = unfinished.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :most]
    return rows.select(selected, cache.subgroup_size), cache.select(selected)


def completions_of(ids: Tensor, logprobs: Tensor, valid: Tensor, sampled: Tensor) -> Completions:
    """From tokens [S, R, C], of which the `valid` belong to the completion and the `sampled` were drawn."""
    stopped = ((ids == EOS) & valid).any(-1)
    reason = torch.where(stopped, int(StopReason.STOP), int(StopReason.LENGTH))
    return Completions(ids, logprobs, sampled, valid.sum(-1), reason)
