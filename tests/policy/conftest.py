"""Every backend, as a fixture: CUDA graphs are rehearsed on a CPU."""

from typing import Any

import pytest

from harness.policy.backends import native
from harness.policy.backends.cuda_graphs import CudaGraphsBackend
from harness.policy.backends.eager import EagerBackend
from harness.policy.backends.native import NativeBackend
from tests.policy.rehearsal import new_recorder

needs_compiler = pytest.mark.skipif(native.library() is None, reason="no C compiler")
BACKENDS = ["eager", pytest.param("native", marks=needs_compiler), "cuda_graphs"]


def backend_named(name: str) -> Any:
    """A new backend of this name, on a CPU."""
    if name == "cuda_graphs":
        return CudaGraphsBackend(record=new_recorder())
    return {"eager": EagerBackend, "native": NativeBackend}[name]()


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Any:
    return backend_named(request.param)
