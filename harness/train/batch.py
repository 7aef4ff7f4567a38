"""Rollouts and advantages -> minibatches for the update, without the groups that say nothing."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.config.schema import AlgoConfig, OptimConfig
from harness.core.seeding import Key, uniforms
from harness.core.types import Batch, Rollouts


@dataclass(frozen=True)
class Judged:
    """A step's rollouts, and all that the update needs to know of them."""

    rollouts: Rollouts
    advantages: Tensor  # [B, T]
    scorable: Tensor  # [B] bool
    keep: Tensor  # [S, P] bool: groups that take part in the update
    ref_logprobs: Tensor | None = None  # [B, T]
    values: Tensor | None = None  # [B, T]
    returns: Tensor | None = None  # [B, T]
    room: int | None = None  # of prompts T - room tokens, of completions room, whatever was drawn; None: what is there


def _group_order(rollouts: Rollouts, minibatches: int, keys: tuple[Key, ...], epoch: int) -> Tensor:
    """[S, P] group indices in the order they are dealt to minibatches; shuffled only where there are several."""
    p = rollouts.rows // rollouts.seeds // rollouts.group_size
    order = torch.arange(p, device=rollouts.ids.device)
    if minibatches == 1:
        return order.expand(rollouts.seeds, p)
    position = torch.full((1,), epoch, device=order.device)
    return uniforms(keys, order, position)[..., 0].argsort(dim=1)


def _kept_groups(judged: Judged, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Of these groups [S, P'] each seed's kept ones, [S, P''], and which entries are real: seeds that keep fewer are
    filled up, to all of them where shapes are fixed."""
    kept = judged.keep.gather(1, groups)
    if judged.room is not None:
        return groups, kept
    most = int(kept.sum(1).max())
    # A stable sort puts each seed's kept groups first, in order.
    first = torch.argsort(~kept, dim=1, stable=True)[:, :most]
    return groups.gather(1, first), kept.gather(1, first)


def _rows_of(groups: Tensor, rollouts: Rollouts) -> Tensor:
    """[S, P'] groups -> [S, P'·G] rows of the whole batch."""
    g, device = rollouts.group_size, groups.device
    rows = (groups[..., None] * g + torch.arange(g, device=device)).flatten(1)
    return rows + torch.arange(rollouts.seeds, device=device)[:, None] * (rollouts.rows // rollouts.seeds)


def loss_weights(judged: Judged, mask: Tensor, config: AlgoConfig, max_tokens: int) -> tuple[Tensor, Tensor]:
    """What each token of a row counts in the loss, [B], and what the row adds to the denominator, [B]."""
    tokens = mask.sum(1).float()
    if config.denominator == "kept":
        tokens = tokens * ((judged.advantages != 0) & mask).any(1)
    if config.aggregation == "token":
        return torch.ones_like(tokens), tokens
    if config.aggregation == "constant":
        return torch.full_like(tokens, 1 / max_tokens), (tokens > 0).float()
    by_group = judged.rollouts.grouped(tokens)
    among = by_group.sum(-1, keepdim=True).expand_as(by_group).flatten() if config.aggregation == "prompt" else tokens
    weight = 1 / among.clamp(min=1)
    return weight, tokens * weight


def training_batches(
    judged: Judged, algo: AlgoConfig, optim: OptimConfig, max_tokens: int, keys: tuple[Key, ...]
) -> Iterator[Batch]:
    """The optimizer minibatches of a step, epoch after epoch: whole groups, shuffled by key where there are several.

    Unscorable rows lose their loss mask. Groups that are not kept are left out; the denominator counts them all the
    same, so that leaving them out equals masking them.
    """
    mask = judged.rollouts.loss_mask & judged.scorable[:, None]
    weight, share = loss_weights(judged, mask, algo, max_tokens)
    for epoch in range(optim.epochs):
        order = _group_order(judged.rollouts, optim.minibatches, keys, epoch)
        for groups in order.tensor_split(optim.minibatches, dim=1):
            yield _batch(judged, groups, mask, weight, share)


def _widths(judged: Judged, completions: Tensor, prompts: Tensor) -> tuple[int, int]:
    """Tokens of the longest of these completions, and of their prompts, by their lengths [S, R]."""
    if judged.room is not None:
        return judged.room, judged.rollouts.ids.shape[1] - judged.room
    return (int(completions.max()), int(prompts.max())) if completions.numel() else (1, 1)


def _batch(judged: Judged, groups: Tensor, mask: Tensor, weight: Tensor, share: Tensor) -> Batch:
    """The minibatch of these groups, [S, P']."""
    rollouts = judged.rollouts
    chosen, real = _kept_groups(judged, groups)
    rows = _rows_of(chosen, rollouts)
    real_rows = real.repeat_interleave(rollouts.group_size, dim=1)
    start = rollouts.prompt_length[rows]
    after = rollouts.length[rows] - start
    tokens, prompt_tokens = _widths(judged, after, rollouts.prompt_length[rows])
    column = torch.arange(tokens, device=rows.device)
    position = (start[..., None] + column).clamp(max=rollouts.ids.shape[1] - 1)
    first = rows[:, :: rollouts.group_size]
    prompt_length = rollouts.prompt_length[first]
    present = column < after[..., None]
    inside = present & real_rows[..., None]
    of_prompts, of_rows = (prompt_length * real, inside) if judged.room is None else (prompt_length, present)
    take = lambda x: x[rows[..., None], position]  # noqa: E731
    if_there = lambda x: None if x is None else take(x)  # noqa: E731
    in_groups = lambda x: rollouts.grouped(x).sum(-1).gather(1, groups).sum(1)  # noqa: E731
    return Batch(
        prompts=rollouts.ids[first][..., :prompt_tokens],
        prompt_length=prompt_length,
        completions=take(rollouts.ids),
        loss_mask=take(mask) & inside,
        sampler_logprobs=take(rollouts.sampler_logprobs),
        advantages=take(judged.advantages),
        weight=weight[rows],
        denominator=in_groups(share),
        loss_tokens=in_groups(mask.sum(1)),
        computed=of_prompts.sum(1) + of_rows.flatten(1).sum(1),
        ref_logprobs=if_there(judged.ref_logprobs),
        values=if_there(judged.values),
        returns=if_there(judged.returns),
        fixed=judged.room is not None,
    )
