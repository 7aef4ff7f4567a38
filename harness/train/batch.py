"""Rollouts and advantages -> minibatches for the update, without the groups that say nothing."""

from collections.abc import Iterator

import torch
from torch import Tensor

from harness.seeding import Key, uniforms
from harness.train.advantages import silent_groups
from harness.types import Batch, Credit, Rollouts


def _group_order(rollouts: Rollouts, minibatches: int, keys: tuple[Key, ...]) -> Tensor:
    """[S, P] group indices in the order they are dealt to minibatches; shuffled only where there are several."""
    p = rollouts.rows // rollouts.seeds // rollouts.group_size
    order = torch.arange(p, device=rollouts.ids.device)
    if minibatches == 1:
        return order.expand(rollouts.seeds, p)
    zero = torch.zeros(1, dtype=torch.int64, device=order.device)
    return torch.stack([uniforms(key, order, zero)[:, 0].argsort() for key in keys])


def _kept_groups(kept: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Each seed's kept groups, [S, P'], and which entries are real: seeds that keep fewer are filled up."""
    most = int(kept.sum(1).max())
    # A stable sort puts each seed's kept groups first, in order.
    first = torch.argsort(~kept, dim=1, stable=True)[:, :most]
    return groups.gather(1, first), kept.gather(1, first)


def _rows_of(groups: Tensor, rollouts: Rollouts) -> Tensor:
    """[S, P'] groups -> [S, P'·G] rows of the whole batch."""
    g, device = rollouts.group_size, groups.device
    rows = (groups[..., None] * g + torch.arange(g, device=device)).flatten(1)
    return rows + torch.arange(rollouts.seeds, device=device)[:, None] * (rollouts.rows // rollouts.seeds)


def training_batches(
    rollouts: Rollouts,
    advantages: Tensor,
    credit: Credit,
    minibatches: int,
    keys: tuple[Key, ...],
    keep_silent: bool = False,
) -> Iterator[Batch]:
    """The optimizer minibatches of a step: whole groups, shuffled by key where there are several minibatches.

    Unscorable rows lose their loss mask. Silent groups are left out unless `keep_silent` (KL and entropy terms act on
    them); the denominator counts their tokens all the same, so that leaving them out equals masking them.
    """
    loss_mask = rollouts.loss_mask & ~credit.outcome.isnan()[:, None]
    tokens = rollouts.grouped(loss_mask.sum(1)).sum(-1)  # [S, P]
    keep = torch.ones_like(tokens, dtype=torch.bool) if keep_silent else ~silent_groups(credit, rollouts)
    for groups in _group_order(rollouts, minibatches, keys).tensor_split(minibatches, dim=1):
        chosen, real = _kept_groups(keep.gather(1, groups), groups)
        rows = _rows_of(chosen, rollouts)
        real_rows = real.repeat_interleave(rollouts.group_size, dim=1)
        start = rollouts.prompt_length[rows]
        after = rollouts.length[rows] - start
        column = torch.arange(int(after.max()) if rows.numel() else 1, device=rows.device)
        position = (start[..., None] + column).clamp(max=rollouts.ids.shape[1] - 1)
        inside = (column < after[..., None]) & real_rows[..., None]
        take = lambda x: x[rows[..., None], position]  # noqa: B023, E731
        first = rows[:, :: rollouts.group_size]
        prompt_length = rollouts.prompt_length[first]
        yield Batch(
            prompts=rollouts.ids[first][..., : int(prompt_length.max()) if rows.numel() else 1],
            prompt_length=prompt_length,
            completions=take(rollouts.ids),
            loss_mask=take(loss_mask) & inside,
            sampler_logprobs=take(rollouts.sampler_logprobs),
            advantages=take(advantages),
            loss_tokens=tokens.gather(1, groups).sum(1),
            computed=(prompt_length * real).sum(1) + inside.flatten(1).sum(1),
        )
