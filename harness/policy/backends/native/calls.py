"""The functions of policy.c and the structs that they take."""

import ctypes
from typing import Any

from torch import Tensor

from harness.policy.backends.native.build import library

NO_MEMORY = 1  # a status of policy.c


def function_of(name: str) -> Any:
    return getattr(library(), name)


def pointer(x: Tensor) -> int:
    assert x.is_contiguous()
    return x.data_ptr()


def _structure(*names: str, **kinds: Any) -> type[ctypes.Structure]:
    """A struct of policy.c: pointers, but for the fields of which a kind is given."""
    fields = [(name, kinds.get(name, ctypes.c_void_p)) for name in names]
    return type("Structure", (ctypes.Structure,), {"_fields_": fields})


_n = ctypes.c_int64
Policy: Any = _structure(
    "layers", "width", "heads", "mlp", "vocab", "positions", "low",
    "cos", "sin", "embedding", "head", "gain", "weights", "packed",
    layers=_n, width=_n, heads=_n, mlp=_n, vocab=_n, positions=_n, low=_n, weights=ctypes.POINTER(ctypes.c_void_p),
)  # fmt: skip
Tokens: Any = _structure("count", "n_rows", "ids", "position", "rows", count=_n, n_rows=_n)
Gradients: Any = _structure("embedding", "head", "gain", "weights", weights=ctypes.POINTER(ctypes.c_void_p))
Request: Any = _structure(
    "ids", "length", "prompts", "longest", "group", "uniforms", "active", "room", "max_tokens", "thinking", "stop",
    "answer", "temperature",
    prompts=_n, longest=_n, group=_n, room=_n, max_tokens=_n, thinking=_n, stop=_n, answer=_n,
    temperature=ctypes.c_float,
)  # fmt: skip
Completions: Any = _structure("ids", "logprobs", "taken", "drawn")


def call(name: str, *arguments: Any) -> None:
    """Structs and tensors by address, tensors contiguous; integers; what ctypes knows."""
    status = function_of(name)(*map(_passed, arguments))
    if status == NO_MEMORY:
        raise MemoryError(f"policy.c: {name} found no memory")
    if status:
        raise IndexError("a token outside the vocabulary, a position outside the context, or a prompt without a token")


def whole(name: str, *arguments: Any) -> int:
    """What the function gives."""
    function = function_of(name)
    function.restype = ctypes.c_uint64
    return function(*map(_passed, arguments))


def _passed(x: Any) -> Any:
    if isinstance(x, Tensor):
        return ctypes.c_void_p(pointer(x))
    if isinstance(x, int):
        return _n(x)
    return ctypes.byref(x) if isinstance(x, ctypes.Structure) else x
