"""Backends: who computes a policy's samples, log-probabilities and gradients. One is chosen for a run, once.

`eager` is plain PyTorch and the reference; `native` is C compiled for this CPU; `cuda_graphs` replays recorded steps of
small policies on a GPU. All give the same numbers to rounding (tests/policy/test_backends.py), so the choice is part of
a run's record and not of its identity.
"""

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from harness.config.schema import ModelConfig
from harness.core.errors import UserError
from harness.core.types import Batch, Completions, GroupedCompletions, SampleRequest
from harness.policy.backends import cuda_graphs
from harness.policy.backends.cuda_graphs import CudaGraphsBackend
from harness.policy.backends.eager import EagerBackend
from harness.policy.backends.native import has_avx512, unsupported_reason
from harness.policy.backends.native.backend import NativeBackend
from harness.policy.transformer import Transformer, parameter_count

Inputs = TypeVar("Inputs")


class Backend(Protocol):
    """Computes for policies of one shape on one device. Every method but `gradients` may be differentiated through."""

    name: str
    batches_seeds: bool  # whether a stack's seeds share operations; else one takes as long as its seeds one by one

    def sample(self, policy: Transformer, request: SampleRequest) -> Completions:
        """Draws the completions requested."""
        ...

    def hidden(self, policy: Transformer, ids: Tensor) -> Tensor:
        """Hidden states of right-padded rows, ids [S, R, T] -> [S, R, T, width]."""
        ...

    def completion_hidden(self, policy: Transformer, grouped: GroupedCompletions) -> Tensor:
        """Hidden states from which completion tokens are predicted, [S, R, C, width]."""
        ...

    def token_logprobs(self, policy: Transformer, ids: Tensor, temperature: float) -> Tensor:
        """log p(ids[t] | ids[:t]) of right-padded rows ids [S, R, T], [S, R, T]; 0 at t = 0."""
        ...

    def completion_logprobs(
        self, policy: Transformer, grouped: GroupedCompletions, temperature: float, with_entropy: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """log p of the masked completion tokens, [S, R, C], 0 elsewhere; with the entropy at each, if requested."""
        ...

    def document_batches(self, policy: Transformer, corpora: Sequence[Sequence[np.ndarray]]) -> list[Any]:
        """Each seed's documents, [S] lists of token ids, as the batches of one pass each, in this backend's layout;
        each has a `denominator` [S], the tokens predicted in all of them."""
        ...

    def document_loss(self, policy: Transformer, documents: Any) -> Tensor:
        """Summed next-token loss of one of `document_batches`, [S]."""
        ...

    def microbatches(self, policy: Transformer, batch: Batch, groups: int) -> list[Batch]:
        """The batch in parts of so many groups; 0: of as many as memory allows."""
        ...

    def gradients(self, policy: Transformer, key: Hashable, function: Callable[[Inputs], Any], inputs: Inputs) -> Any:
        """function(inputs): nested tensors, computed from a dataclass of tensors and the policy's weights. `key` and
        the shapes of the inputs must determine everything else that the function depends on."""
        ...

    def num_threads(self, n: int) -> AbstractContextManager[None]:
        """Within it each call may use n threads; their number changes no bit."""
        ...


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


_BACKENDS: dict[str, Callable[[], Backend]] = {
    "eager": EagerBackend,
    "native": NativeBackend,
    "cuda_graphs": CudaGraphsBackend,
}
