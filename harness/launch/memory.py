"""What a process does with memory that it has freed."""

import ctypes
from contextlib import suppress

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # names of glibc's malloc.h
_HEAP = 1 << 30  # bytes


def keep_freed_memory() -> None:
    """Freed blocks stay with the process until a gigabyte is free at the end of its heap. glibc would map large ones
    one by one and unmap them, so that their pages are faulted in anew at every step, for a tenth of its time. Without
    glibc nothing changes."""
    with suppress(AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_TRIM_THRESHOLD, _HEAP)
        libc.mallopt(_MMAP_MAX, 0)
