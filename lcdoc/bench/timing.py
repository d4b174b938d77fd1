"""Seconds of pieces of work that take turns, so that what slows the machine down slows all of them."""

import math
import time
from collections.abc import Callable, Mapping

import torch

# One sample is at least this long: what the clock and a launch take is then little beside it.
SAMPLE_S = 0.005


def take_turns(
    device: torch.device, runs: Mapping[str, Callable[[], object]], repeats: int
) -> dict[str, list[float]]:
    """Seconds of one run, `repeats` samples of each; the order turns round at every other repeat."""
    counts = {}
    for name, run in runs.items():
        run()  # compiles kernels
        counts[name] = max(1, math.ceil(SAMPLE_S / _seconds(device, run, 1)))
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats):
        for name in list(runs)[:: 1 if repeat % 2 == 0 else -1]:
            samples[name].append(_seconds(device, runs[name], counts[name]))
    return samples


def _seconds(device: torch.device, run: Callable[[], object], count: int) -> float:
    synchronize(device)
    started = time.perf_counter()
    for _ in range(count):
        run()
    synchronize(device)
    return max(time.perf_counter() - started, 1e-9) / count


def synchronize(device: torch.device) -> None:
    """A CUDA device works on after the call returned; its clock is stopped when it is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
