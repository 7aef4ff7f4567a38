"""Work of small policies on a GPU, recorded once and then started as a whole (CUDA graphs).

An operation of a small policy takes a GPU less time than it takes to start it, and a step has thousands. What is asked
for again with tensors of the same shapes is therefore recorded, and replayed from then on. What is recorded has fixed
shapes and looks at no number, for which the CPU would have to wait: finished rows stay in the batch, and silent groups
are masked instead of left out. For a policy that is not small those cost more than the starting of operations.
"""

import functools
import warnings
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from harness.policy.transformer import Transformer, parameter_count

SMALL = 10**7  # weights of one policy
LONGEST = 128  # tokens of a completion: of longer ones too many have ended before the last has
MOST = 64  # recordings of a policy


class Recording(Protocol):
    """A function with tensors of its own: those that it is given, and those that it finds, anew with each replay."""

    given: dict[str, Tensor]
    found: Any

    def replay(self) -> None: ...


@functools.cache
def _memory() -> Any:
    """What all recordings use in turn: no two are replayed at once, and what they find is copied at once."""
    return torch.cuda.graph_pool_handle()


class CudaGraph:
    """The function's work as a CUDA graph. Weights are read where they are: they must change in place."""

    def __init__(self, function: Callable[..., Any], given: Mapping[str, Tensor]):
        self.given = {name: x.detach().clone() for name, x in given.items()}
        self._graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
        try:
            with torch.cuda.graph(self._graph, pool=_memory(), capture_error_mode="thread_local"):
                self.found = function(**self.given)
        finally:
            torch.cuda.set_stream(stream)  # which a capture that ends badly leaves for another

    def replay(self) -> None:
        self._graph.replay()


RECORDERS: dict[str, Callable[..., Recording]] = {"cuda": CudaGraph}  # by the kind of device

# By policy, then by what was asked for; None where that was asked for once.
_recordings: WeakKeyDictionary[Transformer, dict[Hashable, Recording | None]] = WeakKeyDictionary()
_refused = False


def serves(policy: Transformer) -> bool:
    """Whether work of this policy is recorded, and so has to be of fixed shapes."""
    return (
        policy.embedding.device.type in RECORDERS
        and not _refused
        and parameter_count(policy.config, embedding=False) < SMALL
    )


def width_of(tokens: int, most: int, multiple: int) -> int:
    """The width in which so many tokens are laid out, up to `most`: one of few, for each is recorded apart."""
    return min(-(-tokens // multiple) * multiple, most)


def recorded(policy: Transformer, name: Hashable, function: Callable[..., Any], given: Mapping[str, Tensor]) -> Any:
    """function(**given), replayed from the second time on that `name` comes with tensors of these shapes.

    `name` must say all that the function depends on beside these tensors and the policy's weights. It gives tensors, in
    tuples, lists and dicts. The first time runs as it is, which also warms up what libraries prepare; the second is
    recorded, up to a number of shapes. Where that is refused, a warning says so, and everything is run as it is from
    then on.
    """
    global _refused
    known = _recordings.setdefault(policy, {})
    key = (name, *((of, x.shape, x.dtype) for of, x in given.items()))
    if _refused or key not in known:
        if len(known) < MOST:
            known[key] = None
        return function(**given)
    recording = known[key]
    if recording is None:
        try:
            recording = known[key] = RECORDERS[policy.embedding.device.type](function, given)
        except RuntimeError as error:
            _refused = True
            _recordings.clear()
            cause = error.__context__ or error  # the first error; others follow from it
            warnings.warn(f"no CUDA graphs, steps are slower: {cause}", RuntimeWarning, stacklevel=2)
            return function(**given)
    for of, x in given.items():
        recording.given[of].copy_(x)
    recording.replay()
    return tree_map(torch.clone, recording.found)
