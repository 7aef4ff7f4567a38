"""Losses: tensors in, (weighted sum over tokens by seed, metrics) out; the caller divides by one denominator."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.config.schema import AlgoConfig

LOSS_METRICS = ("ratio_clipped", "sampler_policy_kl")  # of each loss, also for a batch without rows


@dataclass(frozen=True)
class LossInputs:
    """All [S, R, T], but for the weight."""

    logprobs: Tensor  # of the current policy, with gradient
    sampler_logprobs: Tensor
    advantages: Tensor
    mask: Tensor  # bool: tokens that take part
    weight: Tensor | None = None  # [S, R]: the weight of each token of a row; None: 1
    ref_logprobs: Tensor | None = None  # of the frozen reference, where a KL term needs it
    entropy: Tensor | None = None  # of the current policy at each token, with gradient, where a bonus needs it


Loss = Callable[[LossInputs, AlgoConfig], tuple[Tensor, dict[str, Tensor]]]


def per_seed(x: Tensor, mask: Tensor) -> Tensor:
    """Sum over everything but the seed axis, [S]; masked entries count nothing, NaN among them too."""
    return torch.where(mask, x, 0.0).flatten(1).sum(1)


def _weighted(x: Tensor, inputs: LossInputs) -> Tensor:
    return per_seed(x if inputs.weight is None else x * inputs.weight[..., None], inputs.mask)


def log_ratio(inputs: LossInputs) -> Tensor:
    """log of policy over sampler; 0 where masked."""
    return torch.where(inputs.mask, inputs.logprobs - inputs.sampler_logprobs, 0.0)


def _exp(x: Tensor) -> Tensor:
    return x.clamp(-20, 20).exp()


def _importance(inputs: LossInputs) -> Tensor:
    """policy / sampler, with gradient: under it a mean over the sampler's tokens is one over the policy's."""
    return _exp(log_ratio(inputs))


def k3(difference: Tensor) -> Tensor:
    """exp(d) - d - 1, never negative: with d = log q/p at tokens of p it estimates KL(p | q) (Schulman 2020,
    "Approximating KL divergence", http://joschu.net/blog/kl-approx.html)."""
    return _exp(difference) - 1 - difference


@torch.no_grad()
def _metrics(clipped: Tensor, inputs: LossInputs) -> dict[str, Tensor]:
    """Sums over tokens, [S] each."""
    return {
        "ratio_clipped": per_seed(clipped.float(), inputs.mask),
        "sampler_policy_kl": per_seed(k3(log_ratio(inputs)), inputs.mask),
    }


def _surrogate(ratio: Tensor, inputs: LossInputs, config: AlgoConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """The pessimistic of ratio and clipped ratio times advantage (PPO: Schulman et al., arXiv 1707.06347, eq. 7)."""
    unclipped = ratio * inputs.advantages
    clipped = ratio.clamp(1 - config.clip_low, 1 + config.clip_high) * inputs.advantages
    return -_weighted(torch.minimum(unclipped, clipped), inputs), _metrics(unclipped > clipped, inputs)


def clipped_policy_gradient(inputs: LossInputs, config: AlgoConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """PPO's clipped surrogate, token by token; at ratio 1 its gradient is REINFORCE's. With clip_high above clip_low it
    is DAPO's (arXiv 2503.14476, eq. 10)."""
    return _surrogate(_importance(inputs), inputs, config)


def sequence_policy_gradient(inputs: LossInputs, config: AlgoConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """One ratio for a completion: the geometric mean of its tokens' (GSPO: Zheng et al., arXiv 2507.18071, eq. 5-7)."""
    count = inputs.mask.sum(-1, keepdim=True).clamp(min=1)
    ratio = _exp(log_ratio(inputs).sum(-1, keepdim=True) / count)
    return _surrogate(ratio.expand_as(inputs.logprobs), inputs, config)


def clipped_importance_weights(inputs: LossInputs, config: AlgoConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """REINFORCE under a clipped weight that takes no gradient, so that every token keeps one (CISPO: MiniMax-M1,
    arXiv 2506.13585, eq. 4-5)."""
    ratio = _importance(inputs).detach()
    weight = ratio.clamp(1 - config.clip_low, 1 + config.clip_high)
    return -_weighted(weight * inputs.advantages * inputs.logprobs, inputs), _metrics(ratio != weight, inputs)


def likelihood(inputs: LossInputs, config: AlgoConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """-advantage · log p, whichever policy drew the token: supervised fine-tuning where the advantage is 0 or 1."""
    clipped = torch.zeros_like(inputs.mask)
    return -_weighted(inputs.advantages * inputs.logprobs, inputs), _metrics(clipped, inputs)


def _kl_term(inputs: LossInputs, difference: Tensor, form: str) -> Tensor:
    """Of a token whose log-probability exceeds the reference's by d; its expected gradient is that of KL(policy |
    reference). k2: ½ d², weighted by a ratio without gradient, for E[d ∇log p] is that gradient; the value is only
    close. k3 under the ratio *with* its gradient, whose value is right too; without the ratio's gradient it would be
    the gradient of the other direction (DeepSeek-V3.2, arXiv 2512.02556, section 3.1)."""
    ratio = _importance(inputs)
    return ratio.detach() * 0.5 * difference**2 if form == "k2" else ratio * k3(-difference)


def regularisers(inputs: LossInputs, config: AlgoConfig) -> tuple[Tensor, dict[str, Tensor]]:
    """KL to the reference and entropy bonus, summed as the policy loss is, [S]; and their metrics."""
    total, metrics = inputs.logprobs.new_zeros(len(inputs.logprobs)), {}
    if inputs.ref_logprobs is not None:
        difference = torch.where(inputs.mask, inputs.logprobs - inputs.ref_logprobs, 0.0).clamp(-20, 20)
        metrics["ref_kl"] = per_seed(k3(-difference.detach()), inputs.mask)
        if config.kl in ("k2", "k3"):  # k1 is in the reward
            total = total + config.kl_coefficient * _weighted(_kl_term(inputs, difference, config.kl), inputs)
    if inputs.entropy is not None:
        total = total - config.entropy_bonus * _weighted(inputs.entropy, inputs)
    return total, metrics
