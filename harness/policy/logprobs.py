"""Log-probabilities of given tokens, under the distribution that the sampler draws from.

`token_logprobs` computes whole rows; `completion_hidden` computes each prompt once for its group and agrees with it.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.core.types import GroupedCompletions
from harness.policy.attention import Attention, Packed, Packing, SharedPrompt, causal_mask, mask_to_bias
from harness.policy.transformer import Transformer

BF16_SHAPE_MULTIPLE = 64  # tokens by which the shapes of bfloat16 products differ


def selective_log_softmax(logits: Tensor, target: Tensor, temperature: float) -> Tensor:
    """log p(target) at this temperature: logits [..., V], target [...]."""
    flat = (logits / temperature).flatten(0, -2)
    return -F.cross_entropy(flat, target.flatten(), reduction="none").view(target.shape)


def entropy_from_logits(logits: Tensor, temperature: float) -> Tensor:
    """Entropy in nats of the distribution that a token is drawn from: logits [..., V] -> [...]."""
    logprobs = (logits / temperature).log_softmax(-1)
    return -(logprobs.exp() * logprobs).sum(-1)


def token_logprobs(policy: Transformer, ids: Tensor, temperature: float) -> Tensor:
    """log p(ids[t] | ids[:t]) at this temperature, [S, R, T]; 0 at t = 0, which nothing precedes."""
    logprobs = selective_log_softmax(policy(ids[..., :-1]), ids[..., 1:], temperature)
    return F.pad(logprobs, (1, 0))


def completion_hidden(policy: Transformer, grouped: GroupedCompletions, pack: bool = True) -> Tensor:
    """Hidden state from which each completion token is predicted, [S, R, C, width].

    With `pack` nothing is computed of padding and of the tokens after a row's last one in the mask; without it shapes
    are fixed, as a CUDA graph needs them. A prompt's last token goes with each completion, whose first token it
    predicts.
    """
    prompts, prompt_length, completions = grouped.prompts, grouped.prompt_length, grouped.completions
    p, (rows, c) = prompts.shape[1], completions.shape[1:]
    preceding = prompt_length - 1
    context = prompts[..., : int(preceding.max()) if pack else prompts.shape[-1] - 1]
    last = prompts.gather(2, preceding[..., None]).repeat_interleave(rows // p, dim=1)  # [S, R, 1]
    queries = torch.cat((last, completions[..., :-1]), dim=-1)

    device, dtype = prompts.device, policy.attention_dtype
    slots = torch.arange(context.shape[-1], device=device)
    real = slots < preceding[..., None]
    # Only padding may lie beyond the context: where one row's prompt and another's completion are long.
    positions = (preceding[..., None] + torch.arange(c, device=device)).clamp(
        max=policy.config.context - 1
    )  # [S, P, C]
    attention: Attention = SharedPrompt(
        prompts=p,
        group_size=rows // p,
        prompt_rotation=policy.rotation(slots),
        completion_rotation=policy.rotation(positions[:, :, None, None, None]),
        prompt_bias=mask_to_bias(real, dtype),
        causal_prompt=mask_to_bias(causal_mask(len(slots), device), dtype),
        causal_completion=mask_to_bias(causal_mask(c, device), dtype),
    )
    flat = torch.cat((context.flatten(1), queries.flatten(1)), dim=1)
    packing = _packing(policy, real, grouped.mask) if pack else None
    if packing is None:
        hidden = policy.flat_hidden(flat, attention)
    else:
        hidden = packing.scatter(policy.flat_hidden(packing.gather(flat), Packed(attention, packing)))
    return hidden[:, context[0].numel() :].unflatten(1, (rows, c))


def _packing(policy: Transformer, real: Tensor, mask: Tensor) -> Packing | None:
    """The tokens to compute of prompts, real [S, P, T], and of completions, mask [S, R, C]; None if that is all."""
    needed = mask.flip(-1).cummax(-1).values.flip(-1)
    wanted = torch.cat((real.flatten(1), needed.flatten(1)), dim=1)
    if wanted.all():
        return None
    # In bfloat16 a CPU's library prepares each new shape for longer than it then takes to compute.
    multiple = BF16_SHAPE_MULTIPLE if policy.product_dtype == torch.bfloat16 else 1
    most = -(-int(wanted.sum(1).max()) // multiple) * multiple
    # A stable sort puts what is wanted first, in order; seeds with less are padded with other tokens.
    return Packing((~wanted).to(torch.int8).argsort(dim=1, stable=True)[:, :most], wanted.shape[1])
