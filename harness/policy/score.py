"""Log-probabilities of given tokens, under the law that the sampler draws from.

`score` is the plain reference; `score_completions` computes each prompt once for its group and agrees with it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.policy import native
from harness.policy.attention import Attention, Packed, Packing, SharedPrompt, bias_of, causal
from harness.policy.transformer import Transformer

SHAPES = 64  # tokens by which the shapes of bfloat16 products differ


def token_logprobs(logits: Tensor, target: Tensor, temperature: float) -> Tensor:
    """log p(target) at this temperature: logits [..., V], target [...]."""
    flat = (logits / temperature).flatten(0, -2)
    return -F.cross_entropy(flat, target.flatten(), reduction="none").view(target.shape)


def token_entropy(logits: Tensor, temperature: float) -> Tensor:
    """Entropy of the law that a token is drawn from, in nats: logits [..., V] -> [...]."""
    logprobs = (logits / temperature).log_softmax(-1)
    return -(logprobs.exp() * logprobs).sum(-1)


def score(policy: Transformer, ids: Tensor, temperature: float) -> Tensor:
    """log p(ids[t] | ids[:t]) at this temperature, [S, R, T]; 0 at t = 0, which nothing precedes."""
    given, target = ids[..., :-1], ids[..., 1:]
    if native.serves(policy):
        spans = native.rows_of_equal_length(*given.shape)
        logprobs = native.logprobs(policy, given.flatten(1), spans, target.flatten(1), temperature).view(target.shape)
    else:
        logprobs = token_logprobs(policy(given), target, temperature)
    return F.pad(logprobs, (1, 0))


@dataclass(frozen=True)
class Queries:
    """The tokens that a policy has to see for the laws of completions' tokens: flat, all contexts (prompts but for
    their last token), then all queries, each of which predicts a token of its completion; only what is asked for."""

    context: Tensor  # [S, P, T]
    seen: Tensor  # [S, P]: tokens of a context
    queries: Tensor  # [S, P·G, C]
    wanted: Tensor  # [S, P·T + P·G·C] bool
    count: Tensor  # [S, P·G]: queries of a completion that are asked for
    positions: Tensor  # [S, P, C], of queries

    @property
    def ids(self) -> Tensor:
        """[S, P·T + P·G·C]"""
        return torch.cat((self.context.flatten(1), self.queries.flatten(1)), dim=1)

    def packing(self, multiple: int = 1) -> Packing:
        return Packing(_places(self.wanted, multiple), self.wanted.shape[1])

    def of_queries(self, x: Tensor) -> Tensor:
        """x [S, P·T + P·G·C, ...] -> [S, P·G, C, ...]."""
        return x[:, self.context[0].numel() :].unflatten(1, self.queries.shape[1:])


def queries_of(
    policy: Transformer, prompts: Tensor, prompt_length: Tensor, completions: Tensor, mask: Tensor
) -> Queries:
    """Of completions and mask [S, P·G, C] after prompts [S, P, T], right-padded, of prompt_length [S, P] (at least 2).
    What is asked for are the tokens of the mask: of those after a row's last one nothing is computed. A prompt's last
    token goes with each completion, whose first token it predicts."""
    rows, c = completions.shape[1:]
    seen = prompt_length - 1
    context = prompts[..., : int(seen.max())]
    last = prompts.gather(2, seen[..., None]).repeat_interleave(rows // prompts.shape[1], dim=1)  # [S, P·G, 1]
    real = torch.arange(context.shape[-1], device=seen.device) < seen[..., None]
    needed = mask.flip(-1).cummax(-1).values.flip(-1)
    # Only padding may lie beyond the context: where one row's prompt and another's completion are long.
    positions = (seen[..., None] + torch.arange(c, device=seen.device)).clamp(max=policy.config.context - 1)
    return Queries(
        context,
        seen,
        torch.cat((last, completions[..., :-1]), dim=-1),
        torch.cat((real.flatten(1), needed.flatten(1)), dim=1),
        needed.sum(-1),
        positions,
    )


def completion_logits(
    policy: Transformer, prompts: Tensor, prompt_length: Tensor, completions: Tensor, mask: Tensor
) -> Tensor:
    """Logits of each completion token given its prompt and what came before, [S, P·G, C, V]; arguments of
    `queries_of`."""
    asked = queries_of(policy, prompts, prompt_length, completions, mask)
    if native.serves(policy):
        packing = asked.packing()
        hidden = packing.put(native.hidden(policy, packing.take(asked.ids), _spans(asked, packing)))
        return policy.logits(asked.of_queries(hidden))
    p, rows, c = prompts.shape[1], *completions.shape[1:]
    device, dtype = prompts.device, policy.attention_dtype
    slots = torch.arange(asked.context.shape[-1], device=device)
    shared: Attention = SharedPrompt(
        prompts=p,
        group_size=rows // p,
        prompt_rotation=policy.rotation(slots),
        completion_rotation=policy.rotation(asked.positions[:, :, None, None, None]),
        prompt_bias=bias_of(slots < asked.seen[..., None], dtype),
        causal_prompt=bias_of(causal(len(slots), device), dtype),
        causal_completion=bias_of(causal(c, device), dtype),
    )
    if asked.wanted.all():
        return policy.logits(asked.of_queries(policy.flat_hidden(asked.ids, shared)))
    # In bfloat16 a CPU's library prepares each new shape for longer than it then takes to compute.
    packing = asked.packing(SHAPES if policy.product_dtype == torch.bfloat16 else 1)
    hidden = policy.flat_hidden(packing.take(asked.ids), Packed(shared, packing))
    return policy.logits(asked.of_queries(packing.put(hidden)))


def _spans(asked: Queries, packing: Packing) -> native.Spans:
    s, p, t = asked.context.shape
    group = asked.queries.shape[1] // p
    of_context = torch.arange(t).expand(s, p, t).flatten(1)
    position = torch.cat((of_context, asked.positions.repeat_interleave(group, dim=1).flatten(1)), dim=1)
    return native.completions_after_prompts(asked.seen, asked.count, packing.take(position))


def _places(real: Tensor, multiple: int = 1) -> Tensor:
    """[S, M] places of what is real [S, N], in order; seeds with fewer are filled up with others, and so are all up to
    a multiple."""
    most = -(-int(real.sum(1).max()) // multiple) * multiple
    return (~real).to(torch.int8).argsort(dim=1, stable=True)[:, :most]


def score_completions(
    policy: Transformer, prompts: Tensor, prompt_length: Tensor, completions: Tensor, mask: Tensor, temperature: float
) -> Tensor:
    """log p of each completion token of the mask at this temperature, [S, P·G, C], 0 elsewhere; arguments of
    `queries_of`."""
    if native.serves(policy):
        asked = queries_of(policy, prompts, prompt_length, completions, mask)
        packing, nothing = (
            asked.packing(),
            asked.context.flatten(1).new_tensor(-1).expand(asked.context.flatten(1).shape),
        )
        target = torch.cat((nothing, completions.where(mask, -1).flatten(1)), dim=1)
        given = packing.take(asked.ids), _spans(asked, packing), packing.take(target)
        return asked.of_queries(packing.put(native.logprobs(policy, *given, temperature)))
    logits = completion_logits(policy, prompts, prompt_length, completions, mask)
    return torch.where(mask, token_logprobs(logits, completions, temperature), 0.0)
