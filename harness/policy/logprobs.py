"""Log-probabilities of given tokens, under the law that the sampler draws from.

`score` computes whole rows; `score_completions` computes each prompt once for its group and agrees with it.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.policy.attention import Attention, Packed, Packing, SharedPrompt, bias_of, causal
from harness.policy.backends import native
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
    if native.supports(policy):
        spans = native.equal_rows(*given.shape)
        logprobs = native.token_logprobs(policy, given.flatten(1), spans, target.flatten(1), temperature)
        logprobs = logprobs.view(target.shape)
    else:
        logprobs = token_logprobs(policy(given), target, temperature)
    return F.pad(logprobs, (1, 0))


def completion_logits(
    policy: Transformer,
    prompts: Tensor,
    prompt_length: Tensor,
    completions: Tensor,
    mask: Tensor,
    fixed: bool = False,
) -> Tensor:
    """Logits of each completion token given its prompt and what came before, [S, P·G, C, V].

    prompts [S, P, T] right-padded, prompt_length [S, P] (at least 2), completions and mask [S, P·G, C]. What is asked
    for are the tokens of the mask: of those after a row's last one nothing is computed. A prompt's last token goes with
    each completion, whose first token it predicts.
    """
    if native.supports(policy):
        layout = native.layout_completions(prompts, prompt_length, completions, mask)
        return policy.logits(layout.scatter(native.hidden(policy, layout.ids, layout.spans), completions))
    p = prompts.shape[1]
    rows, c = completions.shape[1:]
    seen = prompt_length - 1
    context = prompts[..., : prompts.shape[-1] - 1 if fixed else int(seen.max())]
    last = prompts.gather(2, seen[..., None]).repeat_interleave(rows // p, dim=1)  # [S, P·G, 1]
    queries = torch.cat((last, completions[..., :-1]), dim=-1)

    device, dtype = prompts.device, policy.attention_dtype
    slots = torch.arange(context.shape[-1], device=device)
    real = slots < seen[..., None]
    # Only padding may lie beyond the context: where one row's prompt and another's completion are long.
    positions = (seen[..., None] + torch.arange(c, device=device)).clamp(max=policy.config.context - 1)  # [S, P, C]
    attention: Attention = SharedPrompt(
        prompts=p,
        group_size=rows // p,
        prompt_rotation=policy.rotation(slots),
        completion_rotation=policy.rotation(positions[:, :, None, None, None]),
        prompt_bias=bias_of(real, dtype),
        causal_prompt=bias_of(causal(len(slots), device), dtype),
        causal_completion=bias_of(causal(c, device), dtype),
    )
    flat = torch.cat((context.flatten(1), queries.flatten(1)), dim=1)
    packing = None if fixed else _packing(policy, real, mask)
    if packing is None:
        hidden = policy.flat_hidden(flat, attention)
    else:
        hidden = packing.put(policy.flat_hidden(packing.take(flat), Packed(attention, packing)))
    return policy.logits(hidden[:, context[0].numel() :].unflatten(1, (rows, c)))


def _packing(policy: Transformer, real: Tensor, mask: Tensor) -> Packing | None:
    """What is to be computed of prompts, real [S, P, T], and of completions, whose mask [S, R, C] is asked for; None if
    that is all."""
    needed = mask.flip(-1).cummax(-1).values.flip(-1)
    wanted = torch.cat((real.flatten(1), needed.flatten(1)), dim=1)
    if wanted.all():
        return None
    # In bfloat16 a CPU's library prepares each new shape for longer than it then takes to compute.
    multiple = SHAPES if policy.product_dtype == torch.bfloat16 else 1
    return Packing(_places(wanted, multiple), wanted.shape[1])


def _places(real: Tensor, multiple: int = 1) -> Tensor:
    """[S, M] places of what is real [S, N], in order; seeds with fewer are filled up with others, and so are all up to
    a multiple."""
    most = -(-int(real.sum(1).max()) // multiple) * multiple
    return (~real).to(torch.int8).argsort(dim=1, stable=True)[:, :most]


def score_completions(
    policy: Transformer,
    prompts: Tensor,
    prompt_length: Tensor,
    completions: Tensor,
    mask: Tensor,
    temperature: float,
    fixed: bool = False,
) -> Tensor:
    """log p of each completion token of the mask at this temperature, [S, P·G, C], 0 elsewhere; arguments of
    `completion_logits`."""
    if native.supports(policy):
        layout = native.layout_completions(prompts, prompt_length, completions, mask)
        logprobs = native.token_logprobs(policy, layout.ids, layout.spans, layout.target, temperature)
        return layout.scatter(logprobs, completions)
    logits = completion_logits(policy, prompts, prompt_length, completions, mask, fixed)
    return torch.where(mask, token_logprobs(logits, completions, temperature), 0.0)
