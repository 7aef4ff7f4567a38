"""Calls of a policy on the fastest backend that supports it on a CPU."""

from torch import Tensor

from harness.core.types import Completions, GroupedCompletions
from harness.policy.backends import native
from harness.policy.backends.backend import Backend
from harness.policy.backends.eager import EagerBackend
from harness.policy.backends.native.backend import NativeBackend
from harness.policy.transformer import Transformer
from tests.policy.sampling_requests import request_of


def fastest(policy: Transformer) -> Backend:
    return NativeBackend() if native.supports(policy) else EagerBackend()


def score(policy: Transformer, ids: Tensor, temperature: float) -> Tensor:
    return fastest(policy).token_logprobs(policy, ids, temperature)


def score_completions(policy: Transformer, *grouped_and_temperature) -> Tensor:
    *grouped, temperature = grouped_and_temperature
    return fastest(policy).completion_logprobs(policy, GroupedCompletions(*grouped), temperature)[0]


def sample(policy, prompts, length, group_size, max_tokens, temperature, uniforms, active=None) -> Completions:
    request = request_of(prompts, length, uniforms, group_size, max_tokens, temperature, active=active)
    return fastest(policy).sample(policy, request)
