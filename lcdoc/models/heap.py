"""Keeping memory from growing while much comes and little stays: the C library's heap, and kernels made for a shape."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# glibc's names for what mallopt sets (malloc.h).
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3

APART_BYTES = 128 << 10

# Where glibc's own adjustment of the two ends once large blocks have come and gone.
USUAL_MMAP_BYTES, USUAL_TRIM_BYTES = 32 << 20, 64 << 20

# oneDNN makes a kernel for each shape of product in 16 bits on a CPU, up to 1 MB each, and keeps up to 1024. A pass has
# one for each shape of weights, and of attention two for each shape of tile, or for each number of heads in a group.
# With fewer kept than it has, each is made anew every time: decoding in bfloat16 takes three times as long with 8 kept
# as with 12 or more; reading 32,000 tokens by blocks makes 3,300 of them (1.4 s) with 32 kept and 180 with 40; with 64
# hardly fewer than with 40 (torch 2.13).
KEPT_KERNELS = 40
KERNEL_CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")


def keep_few_kernels() -> None:
    """For products to come; the user's own settings stand. Read when the first one is computed."""
    for name in KERNEL_CACHES:
        os.environ.setdefault(name, str(KEPT_KERNELS))


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
