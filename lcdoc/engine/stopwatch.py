"""How long a piece of work takes on a device."""

import time
from collections.abc import Callable

import torch

# Each measurement is repeated until this much time has passed, or MAX_RUNS times.
MEASURE_S = 0.15
MAX_RUNS = 20
# One that took longer because something else ran meanwhile is not the only one: MIN_RUNS, unless they take too long.
MIN_RUNS = 4
PATIENCE_S = 0.6


def measure_s(
    device: torch.device, work: Callable[[], object], before: Callable[[], object] | None = None
) -> float:
    """Time of the fastest run: what else the machine does, and warming up, can only make one slower.

    before: called ahead of each run, and not timed.
    """
    samples = [_timed(device, work, before)]
    counted_s = samples[0] if samples[0] > MEASURE_S else 0.0  # else it may have been warming up and no more
    while len(samples) < MAX_RUNS and (
        counted_s < MEASURE_S or (len(samples) < MIN_RUNS and sum(samples) < PATIENCE_S)
    ):
        samples.append(_timed(device, work, before))
        counted_s += samples[-1]
    return min(samples)


def _timed(device: torch.device, work: Callable[[], object], before: Callable[[], object] | None) -> float:
    if before is not None:
        before()
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return max(time.perf_counter() - started, 1e-9)
