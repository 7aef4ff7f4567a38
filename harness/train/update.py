"""One optimizer step on a minibatch of rollouts."""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from harness.config.schema import Config
from harness.core.types import Batch
from harness.train import distributed
from harness.train.algorithms import ALGORITHMS
from harness.train.critic import critic_loss
from harness.train.losses import LOSS_METRICS, LossInputs, regularisers
from harness.train.optim import accumulate_gradients, clip_gradients, learning_rate_factor, set_learning_rate
from harness.train.state import TrainState, check_finite, gradients_of


def update(state: TrainState, batch: Batch, cfg: Config) -> dict[str, Tensor]:
    """One optimizer step on a minibatch; gradients add up over micro-batches and ranks under one denominator."""
    weights, backend = list(state.learners.parameters()), state.backend
    key, function = ("update", cfg.algo, cfg.sampling.temperature), partial(gradients, state, cfg, weights)
    own = batch.select_groups(distributed.shard(batch.n_groups))
    parts = backend.microbatches(state.policy, own, cfg.optim.micro_batch)
    computed = (backend.gradients(state.policy, key, function, part) for part in parts)
    totals = {name: torch.zeros_like(batch.denominator) for name in ("loss", *LOSS_METRICS)}
    for metrics in accumulate_gradients(weights, computed):
        totals |= {name: totals.get(name, 0) + value for name, value in metrics.items()}
    totals = distributed.all_reduce(state.learners, totals)
    check_finite(state.step, totals | gradients_of(state.learners), batch)
    norms = {name: clip_gradients(model, cfg.optim.grad_clip) for name, model in state.learners.items()}
    lr = cfg.optim.lr * learning_rate_factor(cfg.schedule, state.step, cfg.rl.steps)
    set_learning_rate(state.optimizer, lr)
    state.optimizer.step()
    return totals | {"grad_norm": norms["policy"], "lr": torch.full_like(norms["policy"], lr)}


def gradients(
    state: TrainState, cfg: Config, weights: Sequence[Tensor], part: Batch
) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
    """Metrics of a micro-batch, [S] each, and its gradients of all weights that are trained."""
    denominator, per_token = part.denominator.clamp(min=1), part.loss_tokens.clamp(min=1)
    loss, metrics = losses(state, part, cfg)
    value_loss, value_metrics = critic_loss(state, part, cfg.algo)
    metrics = {name: value / per_token for name, value in (metrics | value_metrics).items()}
    total = ((loss + value_loss) / denominator).sum()
    return {"loss": loss.detach() / denominator, **metrics}, torch.autograd.grad(total, weights)


def losses(state: TrainState, part: Batch, cfg: Config) -> tuple[Tensor, dict[str, Tensor]]:
    """Policy loss and metrics of a micro-batch, sums over its tokens, [S] each."""
    logprobs, entropy = state.backend.completion_logprobs(
        state.policy, part, cfg.sampling.temperature, with_entropy=cfg.algo.entropy_bonus > 0
    )
    inputs = LossInputs(
        logprobs, part.sampler_logprobs, part.advantages, part.mask, part.weight, part.ref_logprobs, entropy
    )
    policy_loss, metrics = ALGORITHMS[cfg.algo.name].loss(inputs, cfg.algo)
    regularisation, more = regularisers(inputs, cfg.algo)
    return policy_loss + regularisation, metrics | more
