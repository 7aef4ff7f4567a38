"""AdamW over stacked weights, per-seed gradient clipping, and schedules that are pure functions of the step."""

import torch
from torch import Tensor, nn

from harness.config import OptimConfig, ScheduleConfig


def learning_rate_factor(schedule: ScheduleConfig, step: int, steps: int) -> float:
    """Factor on the learning rate of update number `step`, 0-based, of `steps`."""
    warm = min(1.0, (step + 1) / (schedule.warmup + 1))
    if not schedule.has_horizon:
        return warm
    decay = max(1, round(schedule.decay_share * steps))
    return warm * min(1.0, (steps - step) / decay)


def make_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """AdamW; it is elementwise, so a stacked policy's members do not touch. Norm gains are not decayed."""
    gains = [w for name, w in model.named_parameters() if name.endswith("norm")]
    weights = [w for name, w in model.named_parameters() if not name.endswith("norm")]
    groups = [{"params": weights, "weight_decay": config.weight_decay}, {"params": gains, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2), eps=config.eps, fused=True)


def zero_gradients(model: nn.Module) -> None:
    """Zeros, never None: a step whose groups are all silent still decays the optimizer's momentum, as masking would."""
    for w in model.parameters():
        if w.grad is None:
            w.grad = torch.zeros_like(w)
        else:
            w.grad.zero_()


@torch.no_grad()
def clip_gradients(model: nn.Module, limit: float) -> Tensor:
    """Scale each seed's gradient to a norm of at most `limit`; returns the norms before, [S]."""
    grads = [w.grad for w in model.parameters() if w.grad is not None]
    norm = torch.stack([g.flatten(1).square().sum(1) for g in grads]).sum(0).sqrt()
    scale = (limit / norm.clamp(min=1e-12)).clamp(max=1.0)
    for g in grads:
        g.mul_(scale.view(-1, *[1] * (g.dim() - 1)))
    return norm
