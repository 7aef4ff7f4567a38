"""Optimizers over stacked weights, per-seed gradient clipping, and schedules that are pure functions of the step."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.graph import increment_version

from harness.config.schema import OptimConfig, ScheduleConfig
from harness.policy.transformer import Transformer
from harness.train.muon import Muon

T = TypeVar("T")

# Matrices that are several side by side, which Muon must treat one by one.
_SIDE_BY_SIDE = {"qkv": 3, "gate_up": 2, "attention_out": 1, "down": 1}


def learning_rate_factor(schedule: ScheduleConfig, step: int, steps: int) -> float:
    """Factor on the learning rate of update number `step`, 0-based, of `steps`."""
    warm = min(1.0, (step + 1) / (schedule.warmup + 1))
    if not schedule.has_horizon:
        return warm
    left = min(1.0, (steps - step) / max(1, round(schedule.decay_share * steps)))
    return warm * (0.5 - 0.5 * math.cos(math.pi * left) if schedule.name == "cosine" else left)


def parameter_groups(model: Transformer, config: OptimConfig, factor: float = 1.0) -> list[dict[str, Any]]:
    """The model's parameters by weight decay and learning rate, which is multiplied by `factor`. Norm gains are not
    decayed."""
    groups = {}
    for name, weight in model.named_parameters():
        decay = 0.0 if name.endswith("norm") else config.weight_decay
        matrices = _SIDE_BY_SIDE.get(name.rsplit(".", 1)[-1], 0) if config.name == "muon" else 0
        kind = {"weight_decay": decay, "lr_factor": factor * model.lr_factor(name), "matrices": matrices}
        groups.setdefault(tuple(kind.values()), {"params": [], **kind})["params"].append(weight)
    return list(groups.values())


class _AdamW(torch.optim.AdamW):
    """Fused AdamW whose steps count in its weights' version counters, which PyTorch's fused step leaves as they are:
    `Transformer.weights_version` would miss the change. A step hook would be lost in a copy of the optimizer."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = super().step(closure)
        increment_version([weight for group in self.param_groups for weight in group["params"]])
        return loss


def make_optimizer(model: Transformer, config: OptimConfig) -> torch.optim.Optimizer:
    """The configured optimizer; members of a stacked model do not affect each other."""
    groups, betas = parameter_groups(model, config), (config.beta1, config.beta2)
    if config.name == "muon":
        return Muon(groups, config.lr, betas, config.eps)
    return _AdamW(groups, config.lr, betas, config.eps, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_factor"]


def zero_gradients(model: nn.Module) -> None:
    """Zeros, never None: the optimizer also updates weights that a backward pass does not reach."""
    set_gradients(list(model.parameters()), [])


def set_gradients(weights: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
    """Zeros where there are none: a step whose groups all have zero advantage still decays the optimizer's momentum, as
    masking would."""
    for weight, gradient in zip(weights, gradients or map(torch.zeros_like, weights), strict=True):
        weight.grad = gradient


def accumulate_gradients(weights: Sequence[Tensor], parts: Iterable[tuple[T, Sequence[Tensor]]]) -> list[T]:
    """Sets each weight's gradient to the sum over micro-batches; returns the other value of each micro-batch."""
    sums: list[Tensor] = []
    values = []
    for value, gradients in parts:
        if sums:
            torch._foreach_add_(sums, list(gradients))
        else:
            sums = list(gradients)
        values.append(value)
    set_gradients(weights, sums)
    return values


@torch.no_grad()
def clip_gradients(model: nn.Module, limit: float) -> Tensor:
    """Scale each seed's gradient to a norm of at most `limit`; returns the norms before, [S]."""
    grads = [w.grad for w in model.parameters() if w.grad is not None]
    norm = torch.stack([torch.linalg.vector_norm(g, dim=tuple(range(1, g.dim()))) for g in grads]).norm(dim=0)
    scale = (limit / norm.clamp(min=1e-12)).clamp(max=1.0)
    torch._foreach_mul_(grads, [scale.view(-1, *[1] * (g.dim() - 1)) for g in grads])
    return norm
