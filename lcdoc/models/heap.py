"""Keeping the C library's heap from growing while many tensors come and few stay."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# glibc's names for what mallopt sets (malloc.h).
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3

APART_BYTES = 128 << 10

# Where glibc's own adjustment of the two ends once large blocks have come and gone.
USUAL_MMAP_BYTES, USUAL_TRIM_BYTES = 32 << 20, 64 << 20


@contextmanager
def large_blocks_apart() -> Iterator[None]:
    """Inside, blocks above 128 KiB have pages of their own, given back as soon as they are freed: in the heap, the
    small objects that stay would settle in their gaps. Without glibc it does nothing."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        yield
        return
    mallopt(MMAP_THRESHOLD, APART_BYTES)
    try:
        yield
    finally:
        mallopt(MMAP_THRESHOLD, USUAL_MMAP_BYTES)
        mallopt(TRIM_THRESHOLD, USUAL_TRIM_BYTES)
