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


def _kept_rows(kept: Tensor, groups: Tensor, rollouts: Rollouts) -> tuple[Tensor, Tensor]:
    """Rows of the kept groups, [S, R], and which of them are real: seeds that keep fewer are padded to the same R."""
    s, g = rollouts.seeds, rollouts.group_size
    per_seed = rollouts.rows // s
    most = int(kept.sum(1).max()) if kept.numel() else 0
    # A stable sort puts each seed's kept groups first, in order.
    first = torch.argsort(~kept, dim=1, stable=True)[:, :most]
    real = kept.gather(1, first)
    chosen = groups.gather(1, first)
    rows = chosen[..., None] * g + torch.arange(g, device=groups.device)
    rows = rows.flatten(1) + torch.arange(s, device=groups.device)[:, None] * per_seed
    return rows, real.repeat_interleave(g, dim=1)


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
    s = rollouts.seeds
    loss_mask = rollouts.loss_mask & ~credit.outcome.isnan()[:, None]
    tokens = rollouts.grouped(loss_mask.sum(1)).sum(-1)  # [S, P]
    keep = torch.ones_like(tokens, dtype=torch.bool) if keep_silent else ~silent_groups(credit, rollouts)
    for groups in _group_order(rollouts, minibatches, keys).chunk(minibatches, dim=1):
        rows, real = _kept_rows(keep.gather(1, groups), groups, rollouts)
        used = int(rollouts.length[rows.flatten()].max()) if rows.numel() else 1
        take = lambda x: x[rows.flatten(), :used].unflatten(0, (s, -1)) if rows.numel() else x.new_zeros(s, 0, 1)  # noqa: B023, E731
        yield Batch(
            ids=take(rollouts.ids),
            loss_mask=take(loss_mask) & real[..., None],
            sampler_logprobs=take(rollouts.sampler_logprobs),
            advantages=take(advantages),
            loss_tokens=tokens.gather(1, groups).sum(1),
        )
