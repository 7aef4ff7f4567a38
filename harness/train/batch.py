"""Rollouts and advantages -> minibatches for the update, without the groups of zero advantage."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.config.schema import AlgoConfig, OptimConfig
from harness.core.seeding import Key, uniforms
from harness.core.types import Batch, Rewards, Rollouts
from harness.train.advantages import Advantage, token_returns


@dataclass(frozen=True)
class ScoredRollouts:
    """A step's rollouts with everything that the update needs of them."""

    rollouts: Rollouts
    advantages: Tensor  # [B, T]
    scorable: Tensor  # [B] bool
    zero_advantage: Tensor  # [S, P] bool: groups whose advantages are all exactly zero, before shaping and KL
    keep: Tensor  # [S, P] bool: groups that take part in the update
    ref_logprobs: Tensor | None = None  # [B, T]
    values: Tensor | None = None  # [B, T]
    returns: Tensor | None = None  # [B, T]


def score_rollouts(
    advantage: Advantage,
    rewards: Rewards,
    values: Tensor | None,
    rollouts: Rollouts,
    algo: AlgoConfig,
    ref_logprobs: Tensor | None,
) -> ScoredRollouts:
    """Advantages, the critic's targets, and which groups the update needs: those of zero advantage only where a KL, an
    entropy bonus or a critic learns from them."""
    advantages = advantage(rewards, values, rollouts, algo)
    of_base = advantages
    if rewards.outcome is not rewards.base or rewards.token is not None:
        of_base = advantage(Rewards(rewards.base, rewards.base), values, rollouts, algo)
    zero = (rollouts.grouped(of_base) == 0).flatten(2).all(-1)
    returns = token_returns(rewards, values, rollouts, algo)
    scorable, keep = ~rewards.base.isnan(), ~zero | algo.needs_all_groups
    return ScoredRollouts(rollouts, advantages, scorable, zero, keep, ref_logprobs, values, returns)


def _group_order(rollouts: Rollouts, minibatches: int, keys: tuple[Key, ...], epoch: int) -> Tensor:
    """[S, P] group indices in the order they are dealt to minibatches; shuffled only where there are several."""
    p = rollouts.rows // rollouts.seeds // rollouts.group_size
    order = torch.arange(p, device=rollouts.ids.device)
    if minibatches == 1:
        return order.expand(rollouts.seeds, p)
    position = torch.full((1,), epoch, device=order.device)
    return uniforms(keys, order, position)[..., 0].argsort(dim=1)


def _kept_groups(scored: ScoredRollouts, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Of these groups [S, P'] each seed's kept ones, [S, P''], and which entries are real: seeds that keep fewer are
    padded with others."""
    kept = scored.keep.gather(1, groups)
    most = int(kept.sum(1).max())
    # A stable sort puts each seed's kept groups first, in order.
    first = torch.argsort(~kept, dim=1, stable=True)[:, :most]
    return groups.gather(1, first), kept.gather(1, first)


def _rows_of(groups: Tensor, rollouts: Rollouts) -> Tensor:
    """[S, P'] groups -> [S, P'·G] rows of the whole batch."""
    g, device = rollouts.group_size, groups.device
    rows = (groups[..., None] * g + torch.arange(g, device=device)).flatten(1)
    return rows + torch.arange(rollouts.seeds, device=device)[:, None] * (rollouts.rows // rollouts.seeds)


def loss_weights(scored: ScoredRollouts, mask: Tensor, config: AlgoConfig, max_tokens: int) -> tuple[Tensor, Tensor]:
    """The weight of each token of a row in the loss, [B], and what the row adds to the denominator, [B]."""
    tokens = mask.sum(1).float()
    if config.denominator == "kept":
        tokens = tokens * ((scored.advantages != 0) & mask).any(1)
    if config.aggregation == "token":
        return torch.ones_like(tokens), tokens
    if config.aggregation == "constant":
        return torch.full_like(tokens, 1 / max_tokens), (tokens > 0).float()
    by_group = scored.rollouts.grouped(tokens)
    among = by_group.sum(-1, keepdim=True).expand_as(by_group).flatten() if config.aggregation == "prompt" else tokens
    weight = 1 / among.clamp(min=1)
    return weight, tokens * weight


def training_batches(
    scored: ScoredRollouts, algo: AlgoConfig, optim: OptimConfig, max_tokens: int, keys: tuple[Key, ...]
) -> Iterator[Batch]:
    """The optimizer minibatches of a step, epoch after epoch: whole groups, shuffled by key where there are several.

    Unscorable rows lose their loss mask. Groups that are not kept are left out; the denominator counts them all the
    same, so that leaving them out equals masking them.
    """
    mask = scored.rollouts.loss_mask & scored.scorable[:, None]
    weight, denominator = loss_weights(scored, mask, algo, max_tokens)
    for epoch in range(optim.epochs):
        order = _group_order(scored.rollouts, optim.minibatches, keys, epoch)
        for groups in order.tensor_split(optim.minibatches, dim=1):
            yield _batch(scored, groups, mask, weight, denominator)


def _longest(lengths: Tensor) -> int:
    return int(lengths.max()) if lengths.numel() else 1


def _batch(scored: ScoredRollouts, groups: Tensor, mask: Tensor, weight: Tensor, denominator: Tensor) -> Batch:
    """The minibatch of these groups, [S, P']."""
    rollouts = scored.rollouts
    chosen, real = _kept_groups(scored, groups)
    rows = _rows_of(chosen, rollouts)
    start = rollouts.prompt_length[rows]
    new_tokens = rollouts.length[rows] - start
    column = torch.arange(_longest(new_tokens), device=rows.device)
    position = (start[..., None] + column).clamp(max=rollouts.ids.shape[1] - 1)
    first_of_group = rows[:, :: rollouts.group_size]
    prompt_length = rollouts.prompt_length[first_of_group]
    present = (column < new_tokens[..., None]) & real.repeat_interleave(rollouts.group_size, dim=1)[..., None]

    def of_completions(x: Tensor) -> Tensor:
        """[B, T] -> [S, R, C]."""
        return x[rows[..., None], position]

    def sum_over_groups(x: Tensor) -> Tensor:
        """[B] -> [S]."""
        return rollouts.grouped(x).sum(-1).gather(1, groups).sum(1)

    optional = {name: getattr(scored, name) for name in ("ref_logprobs", "values", "returns")}
    return Batch(
        prompts=rollouts.ids[first_of_group][..., : _longest(start)],
        prompt_length=prompt_length,
        completions=of_completions(rollouts.ids),
        mask=of_completions(mask) & present,
        sampler_logprobs=of_completions(rollouts.sampler_logprobs),
        advantages=of_completions(scored.advantages),
        weight=weight[rows],
        denominator=sum_over_groups(denominator),
        loss_tokens=sum_over_groups(mask.sum(1)),
        update_tokens=(prompt_length * real).sum(1) + present.flatten(1).sum(1),
        **{name: None if x is None else of_completions(x) for name, x in optional.items()},
    )
