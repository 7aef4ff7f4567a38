"""Both paths of a policy: what lies between its products as PyTorch's operations, and as compiled C."""

from contextlib import nullcontext

import pytest

from harness.policy.backends import native

needs_compiler = pytest.mark.skipif(native.library() is None, reason="no C compiler")


@pytest.fixture(params=["plain", pytest.param("native", marks=needs_compiler)])
def path(request):
    with native.disabled() if request.param == "plain" else nullcontext():
        yield request.param
