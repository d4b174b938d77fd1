"""How long a piece of work takes on a device."""

import time
from collections.abc import Callable
from statistics import median

import torch

# Each measurement is repeated until this much time has passed, or MAX_RUNS times.
MEASURE_S = 0.15
MAX_RUNS = 20


def measure_s(
    device: torch.device, work: Callable[[], object], before: Callable[[], object] | None = None
) -> float:
    """Median time of one run, after one that warms up; one that is long by itself counts.

    before: called ahead of each run, and not timed.
    """
    first = _timed(device, work, before)
    samples = [first] if first > MEASURE_S else []
    while sum(samples) < MEASURE_S and len(samples) < MAX_RUNS:
        samples.append(_timed(device, work, before))
    return median(samples)


def _timed(device: torch.device, work: Callable[[], object], before: Callable[[], object] | None) -> float:
    if before is not None:
        before()
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return max(time.perf_counter() - started, 1e-9)
