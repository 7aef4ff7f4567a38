"""CUDA graphs rehearsed on a CPU: what a capture refuses is refused, what a replay does not notice goes unnoticed."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_map

# Operations that give the CPU a number, or a shape that depends on numbers: a GPU has to have finished for them.
LOOKS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "unique", "repeat_interleave.Tensor")


class Watched(TorchDispatchMode):
    """Counts the operations that a GPU would start, and those that read a number, which it raises on if `refuse`."""

    def __init__(self, refuse: bool = False):
        super().__init__()
        self.refuse, self.started, self.looks = refuse, 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(name in str(func) for name in LOOKS):
            self.looks += 1
            if self.refuse:
                raise RuntimeError(f"operation not permitted when stream is capturing: {func}")
        result = func(*args, **(kwargs or {}))
        self.started += not getattr(func, "is_view", False)
        return result


class Rehearsed:
    """As cuda_graphs.CudaGraph: the function as it was when it was recorded, on tensors of its own."""

    made: int = 0
    replayed: int = 0

    def __init__(self, function: Callable[[dict[str, Tensor]], Any], inputs: Mapping[str, Tensor]):
        type(self).made += 1
        self.inputs = {name: x.detach().clone() for name, x in inputs.items()}
        self._function, self._grad = function, torch.is_grad_enabled()
        self.outputs = tree_map(torch.empty_like, self._run())

    def _run(self) -> Any:
        with _disable_current_modes(), Watched(refuse=True), torch.set_grad_enabled(self._grad):
            return self._function(self.inputs)

    def replay(self) -> None:
        type(self).replayed += 1
        tree_map(Tensor.copy_, self.outputs, self._run())


def new_recorder() -> type[Rehearsed]:
    """Rehearsed, with counts of its own."""
    return type("Rehearsed", (Rehearsed,), {"made": 0, "replayed": 0})


@contextmanager
def uniforms_by_pytorch() -> Generator[None]:
    """Within it uniforms are computed by PyTorch's operations, as on a GPU, rather than by numpy."""
    with patch("harness.core.seeding._by_numpy", lambda rows: False):
        yield
