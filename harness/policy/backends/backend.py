"""Backends: who computes a policy's samples, log-probabilities and gradients. One is chosen for a run, once.

`eager` is plain PyTorch, the reference and the base of the others; `native` is C compiled for this CPU; `cuda_graphs`
replays recorded steps of small policies on a GPU. All give the same numbers to rounding
(tests/policy/test_backends.py), so the choice is part of a run's record and not of its identity.
"""

import torch

from harness.config.schema import ModelConfig
from harness.core.errors import UserError
from harness.policy.backends import cuda_graphs
from harness.policy.backends.cuda_graphs import CudaGraphsBackend
from harness.policy.backends.eager import EagerBackend
from harness.policy.backends.native import NativeBackend, has_avx512, unsupported_reason
from harness.policy.transformer import parameter_count

Backend = EagerBackend  # what any backend may be called by


def choose_backend(name: str, model: ModelConfig, precision: str, device: torch.device) -> tuple[Backend, str]:
    """The backend of that name, or for "auto" the fastest one that supports the policy, and the reason for the choice.
    Raises UserError if the policy cannot run on the one named."""
    unsupported = {
        "native": "it runs on CPUs" if device.type != "cpu" else unsupported_reason(model, precision),
        "cuda_graphs": cuda_graphs.unsupported_reason(parameter_count(model, embedding=False), device),
        "eager": "",
    }
    if name != "auto":
        if unsupported[name]:
            fix = "choose backend=auto, which takes the fastest one that works"
            raise UserError(f"backend={name}", unsupported[name], fix)
        return _BACKENDS[name](), "as configured"
    fast = "native" if device.type == "cpu" else "cuda_graphs"
    if unsupported[fast]:
        return EagerBackend(), unsupported[fast]
    if fast == "native" and not has_avx512():
        return EagerBackend(), "without AVX-512 it is faster than native (docs/explanation/speed.md)"
    return _BACKENDS[fast](), "the fastest that supports this policy"


_BACKENDS = {"eager": EagerBackend, "native": NativeBackend, "cuda_graphs": CudaGraphsBackend}
