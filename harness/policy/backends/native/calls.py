"""The functions of policy.c and the structs that they take."""

import ctypes
from typing import Any

from torch import Tensor

from harness.policy.backends.native.build import library

NO_MEMORY = 1  # a status of policy.c


def c_function(name: str) -> Any:
    return getattr(library(), name)


def data_pointer(x: Tensor) -> int:
    """Address of the first element of a contiguous tensor."""
    assert x.is_contiguous()
    return x.data_ptr()


def pointer_array(pointers: list[int]) -> Any:
    return (ctypes.c_void_p * len(pointers))(*pointers)


def _struct(*names: str, **types: Any) -> type[ctypes.Structure]:
    """A struct of policy.c; fields without a type are pointers."""
    fields = [(name, types.get(name, ctypes.c_void_p)) for name in names]
    return type("Structure", (ctypes.Structure,), {"_fields_": fields})


_i64 = ctypes.c_int64
_pointers = ctypes.POINTER(ctypes.c_void_p)
CPolicy: Any = _struct(
    "layers", "width", "heads", "mlp", "vocab", "max_positions", "is_bf16",
    "cos", "sin", "embedding", "head", "final_norm", "weights", "packed",
    layers=_i64, width=_i64, heads=_i64, mlp=_i64, vocab=_i64, max_positions=_i64, is_bf16=_i64, weights=_pointers,
)  # fmt: skip
CTokens: Any = _struct("count", "n_rows", "ids", "position", "rows", count=_i64, n_rows=_i64)
CGradients: Any = _struct("embedding", "head", "final_norm", "weights", weights=_pointers)
CSampleArgs: Any = _struct(
    "ids", "length", "prompts", "prompt_capacity", "group", "uniforms", "active", "completion_capacity",
    "max_new_tokens", "thinking", "stop_id", "answer_id", "temperature",
    prompts=_i64, prompt_capacity=_i64, group=_i64, completion_capacity=_i64, max_new_tokens=_i64, thinking=_i64,
    stop_id=_i64, answer_id=_i64, temperature=ctypes.c_float,
)  # fmt: skip
CCompletions: Any = _struct("ids", "logprobs", "valid", "sampled")


def call(name: str, *arguments: Any) -> None:
    """Calls a function that returns a status. Structs and tensors pass by address, tensors contiguous; integers as
    int64. Raises MemoryError and IndexError."""
    status = c_function(name)(*map(_converted, arguments))
    if status == NO_MEMORY:
        raise MemoryError(f"policy.c: {name} cannot allocate memory")
    if status:
        raise IndexError("a token outside the vocabulary, a position outside the context, or a prompt without a token")


def call_int(name: str, *arguments: Any) -> int:
    """Calls a function that returns an int64; arguments as in `call`."""
    function = c_function(name)
    function.restype = _i64
    return function(*map(_converted, arguments))


def _converted(x: Any) -> Any:
    if isinstance(x, Tensor):
        return ctypes.c_void_p(data_pointer(x))
    if isinstance(x, int):
        return _i64(x)
    return ctypes.byref(x) if isinstance(x, ctypes.Structure) else x
