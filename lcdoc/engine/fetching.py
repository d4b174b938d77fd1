"""How fast weights that stay off the device come to it, as accelerate brings them."""

import os
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from mmap import PAGESIZE
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from lcdoc.engine.stopwatch import measure_s

# Where a fetch finds weights: in the memory of a GPU's host; in a file that the system still holds in memory; in a
# file that it has to read from the disk.
MEMORY, CACHED, DISK = "memory", "cached", "disk"

NUM_FILES = 8


def measure_fetching(device: torch.device, weight: torch.Tensor) -> dict[str, float]:
    """Bytes per second by where they are fetched from. weight: the matrix [rows, columns] to fetch, large enough to be
    beyond any cache of the processor.

    Files are written to the system's folder for temporary ones, where layers are that the model's own files hold in
    another form, and read once as they were just written and once after the system has dropped them. Without a
    place for them, or a system that drops files when it is asked to, the rates of these are left out.
    """
    rates = {}
    if device.type == "cuda":
        held = weight.cpu()
        rates[MEMORY] = weight.nbytes / measure_s(device, lambda: held.to(device))
    with suppress(OSError), TemporaryDirectory(prefix="lcdoc-fetch-") as folder:
        paths = _write(weight, Path(folder))
        fetch = partial(_fetch, paths, device)
        rates[CACHED] = weight.nbytes / measure_s(device, fetch)
        if hasattr(os, "posix_fadvise"):
            rates[DISK] = weight.nbytes / measure_s(device, fetch, before=partial(_drop, paths))
    return rates


def _write(weight: torch.Tensor, folder: Path) -> list[Path]:
    """Raises OSError where they can't be written."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    paths = []
    for number, rows in enumerate(weight.chunk(NUM_FILES)):
        paths.append(folder / f"{number}.safetensors")
        try:
            save_file({"weight": rows}, paths[-1])
        except SafetensorError as error:
            raise OSError(str(error)) from error
        with paths[-1].open("rb") as file:
            os.fsync(file.fileno())  # what is not on the disk yet can't be dropped
    return paths


def _drop(paths: Iterable[Path]) -> None:
    """Lets the system forget what it holds of the files."""
    for path in paths:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _fetch(paths: Iterable[Path], device: torch.device) -> None:
    from accelerate.utils import OffloadedWeightsLoader

    index = {path.stem: {"safetensors_file": str(path), "weight_name": "weight"} for path in paths}
    loader = OffloadedWeightsLoader(index=index, device=str(device))
    for name in loader:
        fetched = loader[name].to(device)
        if device.type == "cpu":  # mapped only: a byte of each page brings it to memory
            fetched.flatten().view(torch.uint8)[::PAGESIZE].sum()
