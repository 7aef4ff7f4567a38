"""Requests for completions."""

import torch
from torch import Tensor

from harness.core.types import SampleRequest


def request_of(
    prompts: Tensor,
    length: Tensor,
    uniforms: Tensor,
    group_size: int = 1,
    max_tokens: int = 6,
    temperature: float = 1.0,
    thinking: int | None = None,
    active: Tensor | None = None,
) -> SampleRequest:
    """A request of every row, unless some are active."""
    if active is None:
        active = torch.ones(uniforms.shape[:2], dtype=torch.bool)
    return SampleRequest(prompts, length, uniforms, active, group_size, max_tokens, temperature, thinking)
