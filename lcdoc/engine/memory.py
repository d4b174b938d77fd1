"""What the process takes of the device's memory, now and at its worst."""

import ctypes
import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil
import torch

from lcdoc.errors import DoesNotFitError

Result = TypeVar("Result")

# What a process takes on a CPU once the first token is read, besides weights, cache and workspace: libraries'
# pages, thread pools and their scratch. Measured with torch 2.13 on x86-64.
CPU_RUNTIME_BYTES = 16 << 20

# Of the memory that is free, the share taken by default; the rest is for whatever else runs.
FREE_SHARE = 0.9

UNIT_BYTES = {f"{prefix}B": 1000**power for power, prefix in enumerate(("", "K", "M", "G", "T"))} | {
    f"{prefix}IB": 1024**power for power, prefix in enumerate(("", "K", "M", "G", "T")) if power
}

# How allocators that have no exception of their own say that they refuse.
REFUSALS = (
    "DefaultCPUAllocator",
    "can't allocate memory",
    "std::bad_alloc",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)


class AllocationFailed(DoesNotFitError):
    """The device refused memory, whatever the plan said."""


def allocating(work: Callable[[], Result]) -> Result:
    """Calls it; raises AllocationFailed where memory is refused, free of the frames that hold what was allocated."""
    refusal = ""
    try:
        return work()
    except (RuntimeError, MemoryError) as error:
        if not is_refusal(error):
            raise
        refusal = (str(error) or "no memory left").splitlines()[0]
    raise AllocationFailed(f"an allocation failed: {refusal.rstrip('.')}; free memory or lower --budget")


def succeeds(work: Callable[[], object]) -> bool:
    """Calls it; False where memory is refused, with nothing of what was allocated in it held any longer."""
    try:
        allocating(work)
    except AllocationFailed:
        return False
    return True


def is_refusal(error: Exception) -> bool:
    """Whether memory was refused, here or by what raised it."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError, AllocationFailed)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in REFUSALS)


def release_unused() -> None:
    """Gives back what allocators keep of memory that nothing uses: CUDA's, and glibc's heap."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def size_bytes(size: str) -> int:
    """What a size such as "24GB" or "512MiB" comes to."""
    unit = size.lstrip("0123456789.")
    return int(float(size.removesuffix(unit)) * UNIT_BYTES[unit.upper()])


class MemoryMeter:
    """On a CPU the resident set of the process; on CUDA the bytes its allocator has reserved."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def now_bytes(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.memory_reserved(self.device)
        return psutil.Process().memory_info().rss

    def base_bytes(self) -> int:
        """What is taken before any weights are loaded, and by running itself. What was freed until then is not
        counted: it is given back."""
        if self.device.type == "cuda":
            return 0
        release_unused()
        return self.now_bytes() + CPU_RUNTIME_BYTES

    def total_bytes(self) -> int:
        """All memory of the device."""
        if self.device.type == "cuda":
            return torch.cuda.mem_get_info(self.device)[1]
        return psutil.virtual_memory().total

    def free_bytes(self) -> int:
        """What the process could still take."""
        if self.device.type == "cuda":
            return torch.cuda.mem_get_info(self.device)[0]
        return psutil.virtual_memory().available

    def budget_bytes(self, budget: str | None) -> int:
        """What a budget such as "24GB", "512MiB" or "50%" (of the device's memory) comes to; None is what is free,
        less a margin, besides what the process has taken already."""
        if budget is None:
            return self.now_bytes() + int(self.free_bytes() * FREE_SHARE)
        if budget.endswith("%"):
            return int(self.total_bytes() * float(budget.rstrip("%")) / 100)
        return size_bytes(budget)

    def enforce(self, budget_bytes: int) -> None:
        """On CUDA makes the allocator refuse to go beyond the budget; a CPU's process can't be held that way."""
        if self.device.type == "cuda":
            share = min(1.0, budget_bytes / self.total_bytes())
            torch.cuda.set_per_process_memory_fraction(share, self.device)

    def peak_bytes(self) -> int:
        """The most the process has taken since it started."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_reserved(self.device)
        return peak_rss_bytes()


def peak_rss_bytes() -> int:
    """Peak resident set of this process. The kernel's own mark where it is kept per process; getrusage's
    would count the parent's peak from before exec."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
