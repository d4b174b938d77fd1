"""What the process takes of the device's memory, now and at its worst."""

from pathlib import Path

import psutil
import torch


class MemoryMeter:
    """On a CPU the resident set of the process; on CUDA the bytes its allocator has reserved."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def now_bytes(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.memory_reserved(self.device)
        return psutil.Process().memory_info().rss

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
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
