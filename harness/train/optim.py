"""Optimizers over stacked weights, per-seed gradient clipping, and schedules that are pure functions of the step."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd.graph import increment_version

from harness.config.schema import OptimConfig, ScheduleConfig
from harness.policy.transformer import Transformer

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


def accumulate_gradients(weights: Sequence[Tensor], parts: Iterable[tuple[T, Sequence[Tensor]]]) -> list[T]:
    """Sets each weight's gradient to the sum over micro-batches; returns the other value of each micro-batch. Without
    any, zeros, never None: a step whose groups all have zero advantage still decays the optimizer's momentum, as
    masking would."""
    sums: list[Tensor] = []
    values = []
    for value, gradients in parts:
        if sums:
            torch._foreach_add_(sums, list(gradients))
        else:
            sums = list(gradients)
        values.append(value)
    for weight, gradient in zip(weights, sums or map(torch.zeros_like, weights), strict=True):
        weight.grad = gradient
    return values


@torch.no_grad()
def clip_gradients(model: nn.Module, limit: float) -> Tensor:
    """Scale each seed's gradient to a norm of at most `limit`; returns the norms before, [S]."""
    grads = [w.grad for w in model.parameters() if w.grad is not None]
    norm = torch.stack([torch.linalg.vector_norm(g, dim=tuple(range(1, g.dim()))) for g in grads]).norm(dim=0)
    scale = (limit / norm.clamp(min=1e-12)).clamp(max=1.0)
    torch._foreach_mul_(grads, [scale.view(-1, *[1] * (g.dim() - 1)) for g in grads])
    return norm


def orthogonalised(x: Tensor, steps: int = 5) -> Tensor:
    """U·V^T of each matrix of [..., rows, columns], nearly: Newton-Schulz with Jordan's quintic, which takes singular
    values between about .7 and 1.2. Zeros stay zeros."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / x.flatten(-2).norm(dim=-1)[..., None, None].clamp(min=1e-7)
    for _ in range(steps):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum whose singular values are set to about 1 (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon).

    Groups with matrices > 0 hold weights [S, rows, matrices x columns], each of whose matrices is orthogonalised by
    itself and scaled by .2·sqrt(its longer side), so that learning rate and weight decay mean what they mean for AdamW
    (arXiv 2502.16982, eq. 4). Groups with matrices = 0, of all that is no matrix of a block, are AdamW's.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float, betas: tuple[float, float], eps: float):
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self) -> None:  # ty: ignore[incompatible-method-override]
        for group in self.param_groups:
            for weight in group["params"]:
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                change = _momentum if group["matrices"] else _adam
                weight.sub_(change(weight.grad, self.state[weight], group), alpha=group["lr"])


def _momentum(grad: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> Tensor:
    """Nesterov's, orthogonalised and scaled."""
    beta = group["betas"][0]
    mean = state.setdefault("mean", torch.zeros_like(grad)).lerp_(grad, 1 - beta)
    matrices = grad.lerp(mean, beta).unflatten(-1, (group["matrices"], -1)).transpose(-3, -2)
    scale = 0.2 * max(matrices.shape[-2:]) ** 0.5
    return scale * orthogonalised(matrices).transpose(-3, -2).flatten(-2)


def _adam(grad: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> Tensor:
    """Adam's change for a learning rate of 1 (arXiv 1412.6980, algorithm 1)."""
    low, high = group["betas"]
    step = state.setdefault("step", torch.zeros(())).add_(1).item()
    mean = state.setdefault("mean", torch.zeros_like(grad)).lerp_(grad, 1 - low)
    square = state.setdefault("square", torch.zeros_like(grad)).lerp_(grad.square(), 1 - high)
    return mean / (1 - low**step) / ((square / (1 - high**step)).sqrt() + group["eps"])
