"""Small policies on a GPU: work recorded once as a CUDA graph and replayed.

A GPU computes an operation of a small policy in less time than it takes to launch, and a step has thousands. Work that
comes again with tensors of the same shapes is therefore recorded, and replayed from then on. Recorded work has fixed
shapes and reads no number back: finished rows stay in the batch, and padding is computed. For large policies that costs
more than the launches.
"""

import functools
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils._pytree import tree_map

from harness.core.types import Batch, Completions, GroupedCompletions, SampleRequest, tensors_of
from harness.policy.backends.eager import EagerBackend
from harness.policy.logprobs import completion_hidden
from harness.policy.sampler import sample
from harness.policy.transformer import Transformer

MAX_PARAMETERS = 10**7
MAX_NEW_TOKENS = 128  # of longer completions too many have ended before the last has
MAX_RECORDINGS = 64  # of one policy
PROMPT_MULTIPLE, COMPLETION_MULTIPLE, DOCUMENT_MULTIPLE = 8, 8, 16  # widths are padded to few, each recorded apart


def unsupported_reason(parameters: int, device: torch.device) -> str:
    """Why policies of so many parameters are not recorded on this device; "" where they are."""
    if device.type != "cuda":
        return "it needs a CUDA device"
    if parameters >= MAX_PARAMETERS:
        return f"it is for policies below {MAX_PARAMETERS:,} parameters, whose launches cost more than their padding"
    return ""


@functools.cache
def _memory_pool() -> Any:
    """Shared by all recordings: no two are replayed at once, and their outputs are copied at once."""
    return torch.cuda.graph_pool_handle()


class CudaGraph:
    """The function's work as a CUDA graph. Weights are read in place: they must be updated in place."""

    def __init__(self, function: Callable[[dict[str, Tensor]], Any], inputs: Mapping[str, Tensor]):
        self.inputs = {name: x.detach().clone() for name, x in inputs.items()}
        self._graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            with torch.cuda.graph(self._graph, pool=_memory_pool(), capture_error_mode="thread_local"):
                self.outputs = function(self.inputs)
        finally:
            torch.cuda.set_stream(stream)  # a capture that fails leaves another one current

    def replay(self) -> None:
        self._graph.replay()


class CudaGraphsBackend(EagerBackend):
    """Records the work of small policies. `record` makes a CudaGraph, or what stands for one; where it raises
    RuntimeError, a warning is given and everything runs eagerly from then on."""

    name = "cuda_graphs"

    def __init__(self, record: Callable[..., Any] = CudaGraph):
        self._record, self._failed = record, False
        # By policy, then by key and shapes; None after the first use, which warms up what libraries prepare.
        self._recordings: WeakKeyDictionary[Transformer, dict[Hashable, Any]] = WeakKeyDictionary()

    def sample(self, policy: Transformer, request: SampleRequest) -> Completions:
        new_tokens = request.uniforms.shape[-1]
        if new_tokens > MAX_NEW_TOKENS:
            return super().sample(policy, request)
        most = max(policy.config.context - new_tokens, request.prompts.shape[-1])
        request = replace(request, prompts=_pad_last(request.prompts, PROMPT_MULTIPLE, most))
        settings = tuple(value for value in vars(request).values() if not isinstance(value, Tensor))
        work = functools.partial(_sample_fixed, policy)
        return Completions(*self.gradients(policy, ("sample", *settings), work, request))

    def completion_hidden(self, policy: Transformer, grouped: GroupedCompletions) -> Tensor:
        return completion_hidden(policy, grouped, pack=False)

    def document_batches(self, policy: Transformer, corpora: Sequence[Sequence[np.ndarray]]) -> list[Any]:
        def padded(x: Tensor) -> Tensor:
            return _pad_last(x, DOCUMENT_MULTIPLE, policy.config.context)

        batches = super().document_batches(policy, corpora)
        return [replace(batch, ids=padded(batch.ids), mask=padded(batch.mask)) for batch in batches]

    def microbatches(self, policy: Transformer, batch: Batch, groups: int) -> list[Batch]:
        return super().microbatches(policy, _pad_batch(batch, policy.config.context), groups)

    def gradients(self, policy: Transformer, key: Hashable, function: Callable[[Any], Any], inputs: Any) -> Any:
        tensors = tensors_of(inputs)
        recordings = self._recordings.setdefault(policy, {})
        key = (key, *((name, x.shape, x.dtype) for name, x in tensors.items()))
        if self._failed or key not in recordings:
            if len(recordings) < MAX_RECORDINGS:
                recordings[key] = None
            return function(inputs)
        recording = recordings[key]
        if recording is None:
            recording = recordings[key] = self._try_to_record(function, inputs, tensors)
        if recording is None:
            return function(inputs)
        for name, x in tensors.items():
            recording.inputs[name].copy_(x)
        recording.replay()
        return tree_map(torch.clone, recording.outputs)

    def _try_to_record(self, function: Callable[[Any], Any], inputs: Any, tensors: Mapping[str, Tensor]) -> Any:
        """The recording; None where that fails."""
        try:
            return self._record(lambda own: function(replace(inputs, **own)), tensors)
        except RuntimeError as error:
            self._failed = True
            self._recordings.clear()
            cause = error.__context__ or error  # the first error; others follow from it
            warnings.warn(f"no CUDA graphs, steps are slower: {cause}", RuntimeWarning, stacklevel=3)
            return None


def _sample_fixed(policy: Transformer, request: SampleRequest) -> tuple[Tensor, ...]:
    return tuple(tensors_of(sample(policy, request, compact=False)).values())


def _pad_last(x: Tensor, multiple: int, most: int) -> Tensor:
    """Right-padded with 0 to a multiple, or to `most`."""
    width = max(min(-(-x.shape[-1] // multiple) * multiple, most), x.shape[-1])
    return pad(x, (0, width - x.shape[-1]))


def _pad_batch(batch: Batch, context: int) -> Batch:
    """The batch with widths that are multiples, and groups up to the next power of two, masked."""
    groups, rows = batch.n_groups, batch.completions.shape[1]
    more = (1 << max(groups - 1, 0).bit_length()) - groups if groups else 0
    shared, by_group = {"denominator", "loss_tokens", "update_tokens"}, {"prompts", "prompt_length"}

    def padded(name: str, x: Tensor) -> Tensor:
        if name == "prompts":
            x = _pad_last(x, PROMPT_MULTIPLE, context)
        elif x.dim() == 3:
            x = _pad_last(x, COMPLETION_MULTIPLE, context)
        if name in shared or not more:
            return x
        extra = more if name in by_group else more * (rows // groups)
        filler = x[:, -1:].expand(-1, extra, *x.shape[2:])
        return torch.cat((x, torch.zeros_like(filler) if name == "mask" else filler), dim=1)

    return replace(batch, **{name: padded(name, x) for name, x in tensors_of(batch).items()})
