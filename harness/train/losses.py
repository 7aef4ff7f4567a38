"""Policy losses: tensors in, (sum over tokens per seed, metrics) out. The caller divides by one denominator."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.config import AlgoConfig

LOSS_METRICS = ("ratio_clipped", "sampler_policy_kl")  # what each loss tells, also of a batch without rows


@dataclass(frozen=True)
class LossInputs:
    """All [S, R, T]."""

    logprobs: Tensor  # of the current policy, with gradient
    sampler_logprobs: Tensor
    advantages: Tensor
    mask: Tensor  # bool: tokens that take part


def per_seed(x: Tensor, mask: Tensor) -> Tensor:
    """Sum over everything but the seed axis, [S]; masked entries count nothing, NaN among them too."""
    return torch.where(mask, x, 0.0).flatten(1).sum(1)


def clipped_policy_gradient(inputs: LossInputs, config: AlgoConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """PPO's clipped surrogate; at ratio 1 its gradient is REINFORCE's."""
    log_ratio = torch.where(inputs.mask, inputs.logprobs - inputs.sampler_logprobs, 0.0)
    ratio = log_ratio.clamp(-20, 20).exp()
    clipped = ratio.clamp(1 - config.clip_low, 1 + config.clip_high)
    surrogate = torch.minimum(ratio * inputs.advantages, clipped * inputs.advantages)
    with torch.no_grad():
        metrics = {
            "ratio_clipped": per_seed((ratio * inputs.advantages > clipped * inputs.advantages).float(), inputs.mask),
            # k3, always positive: Schulman 2020, "Approximating KL divergence".
            "sampler_policy_kl": per_seed(ratio - 1 - log_ratio, inputs.mask),
        }
    return -per_seed(surrogate, inputs.mask), metrics


Loss = Callable[[LossInputs, AlgoConfig], tuple[Tensor, dict[str, Tensor]]]
LOSSES: dict[str, Loss] = {"rloo": clipped_policy_gradient, "grpo": clipped_policy_gradient}
