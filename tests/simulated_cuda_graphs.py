"""CUDA graphs rehearsed on a CPU: what a capture refuses is refused, what a replay does not notice goes unnoticed."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_map

from harness.policy.backends import cuda_graphs as graphs
from harness.policy.backends import native

# Operations that give the CPU a number, or a shape that depends on numbers: a GPU has to have finished for them.
LOOKS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "unique", "repeat_interleave.Tensor")


class Watched(TorchDispatchMode):
    """Counts what a GPU would be asked to do, and refuses a look at a number if it is to."""

    def __init__(self, refuse: bool = False):
        super().__init__()
        self.refuse, self.started, self.looks = refuse, 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(name in str(func) for name in LOOKS):
            self.looks += 1
            if self.refuse:
                raise RuntimeError(f"operation not permitted when stream is capturing: {func}")
        found = func(*args, **(kwargs or {}))
        self.started += not getattr(func, "is_view", False)
        return found


class Rehearsed:
    """As graphs.CudaGraph: the function as it was when it was recorded, on tensors of its own."""

    made: int = 0
    replayed: int = 0

    def __init__(self, function: Any, given: Any):
        type(self).made += 1
        self.given = {name: x.detach().clone() for name, x in given.items()}
        self._function, self._grad = function, torch.is_grad_enabled()
        self.found = tree_map(torch.empty_like, self._run())

    def _run(self) -> Any:
        with _disable_current_modes(), Watched(refuse=True), torch.set_grad_enabled(self._grad):
            return self._function(**self.given)

    def replay(self) -> None:
        type(self).replayed += 1
        tree_map(Tensor.copy_, self.found, self._run())


@contextmanager
def in_operations() -> Generator[None]:
    """Within it all that a GPU would be asked to do is PyTorch's."""
    with patch("harness.core.seeding._by_numpy", lambda rows: False), native.disabled():
        yield


@contextmanager
def rehearsed() -> Generator[type[Rehearsed]]:
    """Within it policies on the CPU are served as on a GPU."""

    class Fresh(Rehearsed):
        pass

    with patch.dict(graphs.RECORDERS, {"cpu": Fresh}), in_operations():
        yield Fresh
