"""Muon: momentum whose singular values are set to about 1 (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon),
for stacks of matrices; AdamW for all that is no matrix of a block."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


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
    """Groups with matrices > 0 hold weights [S, rows, matrices x columns], each of whose matrices is orthogonalised by
    itself and scaled by .2·sqrt(its longer side), so that learning rate and weight decay mean what they mean for AdamW
    (arXiv 2502.16982, eq. 4). Groups with matrices = 0 are AdamW's."""

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
