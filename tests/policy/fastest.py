"""Calls of a policy on the fastest backend that supports it on a CPU."""

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import Tensor

from harness.core.types import Completions, GroupedCompletions
from harness.policy.backends import native
from harness.policy.backends.backend import Backend
from harness.policy.backends.eager import EagerBackend
from harness.policy.backends.native import NativeBackend
from harness.policy.transformer import Transformer
from tests.policy.sampling_requests import request_of

_eager = False


@contextmanager
def eager_only() -> Generator[None]:
    """Within it `fastest` is the eager backend."""
    global _eager
    before, _eager = _eager, True
    try:
        yield
    finally:
        _eager = before


def is_compiled(policy: Transformer) -> bool:
    """Whether `fastest` is the native backend."""
    weight = policy.embedding
    readable = weight.dtype == torch.float32 and not weight.is_inference()
    return readable and not _eager and not native.unsupported_reason(policy.config, policy.precision)


def fastest(policy: Transformer) -> Backend:
    return NativeBackend() if is_compiled(policy) else EagerBackend()


def logits(policy: Transformer, ids: Tensor) -> Tensor:
    return policy.logits(fastest(policy).hidden(policy, ids))


def score(policy: Transformer, ids: Tensor, temperature: float) -> Tensor:
    return fastest(policy).token_logprobs(policy, ids, temperature)


def score_completions(policy: Transformer, *grouped_and_temperature) -> Tensor:
    *grouped, temperature = grouped_and_temperature
    return fastest(policy).completion_logprobs(policy, GroupedCompletions(*grouped), temperature)[0]


def sample(policy, prompts, length, group_size, max_tokens, temperature, uniforms, active=None) -> Completions:
    request = request_of(prompts, length, uniforms, group_size, max_tokens, temperature, active=active)
    return fastest(policy).sample(policy, request)
