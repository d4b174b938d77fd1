"""How fast layers that stay off the device come to it, as accelerate brings them."""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from mmap import PAGESIZE
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from lcdoc.engine.layer_step import measure_layer_step_s
from lcdoc.engine.stopwatch import measure_s

# Where a fetch finds weights: in the memory of a GPU's host; in a file that the system still holds in memory; in a
# file that it has to read from the disk.
MEMORY, CACHED, DISK = "memory", "cached", "disk"

NUM_FILES = 8


@dataclass(frozen=True)
class FetchRate:
    """layer_s: a layer's fixed cost, whatever its size: looking up its tensors, opening their files."""

    layer_s: float
    bytes_per_s: float

    def fetch_s(self, layer_bytes: int) -> float:
        return self.layer_s + layer_bytes / self.bytes_per_s


def measure_fetching(device: torch.device, weight: torch.Tensor, layer_step_s: float) -> dict[str, FetchRate]:
    """The rates by where weights are fetched from.

    weight: a matrix [rows, columns] to fetch, beyond any cache of the processor. layer_step_s: of a layer that is on
    the device. Files are written to the system's folder for temporary ones, where offloaded layers are that the
    model's own files hold in another form, and read once as they were just written and once after the system has
    dropped them. Without a place for them, or a system that drops files when it is asked to, these rates are left out.
    """
    rates = {}
    if device.type == "cuda":
        held = weight.cpu()
        layer_s = _layer_s(device, weight.dtype, layer_step_s, None)
        rates[MEMORY] = FetchRate(layer_s, weight.nbytes / measure_s(device, lambda: held.to(device)))
    with suppress(OSError), TemporaryDirectory(prefix="lcdoc-fetch-") as folder:
        files = _write(dict(enumerate(weight.chunk(NUM_FILES))), Path(folder))
        fetch = partial(_fetch, files, device)
        cached = weight.nbytes / measure_s(device, fetch)
        layer_s = _layer_s(device, weight.dtype, layer_step_s, Path(folder))
        rates[CACHED] = FetchRate(layer_s, cached)
        if hasattr(os, "posix_fadvise"):
            read = weight.nbytes / measure_s(device, fetch, before=partial(_drop, files.values()))
            rates[DISK] = FetchRate(layer_s, read)
    return rates


def _layer_s(device: torch.device, dtype: torch.dtype, layer_step_s: float, folder: Path | None) -> float:
    """Seconds that a tiny layer takes longer when its weights lie in files of the folder, or in the host's memory."""
    from accelerate.hooks import attach_align_device_hook

    def offload(layers: torch.nn.Module) -> None:
        weights: Mapping[str, torch.Tensor] = {
            name: value.cpu() for name, value in layers.state_dict().items()
        }
        if folder is not None:
            weights = _loader(_write(weights, folder), device)
        attach_align_device_hook(layers, execution_device=device, offload=True, weights_map=weights)

    return max(measure_layer_step_s(device, dtype, offload) - layer_step_s, 1e-9)


def _write(tensors: Mapping[int, torch.Tensor] | Mapping[str, torch.Tensor], folder: Path) -> dict[str, Path]:
    """One file for each tensor, as transformers writes them. Raises OSError where they can't be written."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    files = {}
    for name, tensor in tensors.items():
        path = files[str(name)] = folder / f"{name}.safetensors"
        try:
            save_file({"weight": tensor}, path)
        except SafetensorError as error:
            raise OSError(str(error)) from error
        with path.open("rb") as file:
            os.fsync(file.fileno())  # what is not on the disk yet can't be dropped
    return files


def _drop(paths: Iterable[Path]) -> None:
    """Lets the system forget what it holds of the files."""
    for path in paths:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _loader(files: Mapping[str, Path], device: torch.device) -> Mapping[str, torch.Tensor]:
    from accelerate.utils import OffloadedWeightsLoader

    index = {name: {"safetensors_file": str(path), "weight_name": "weight"} for name, path in files.items()}
    loader: Mapping[str, torch.Tensor] = OffloadedWeightsLoader(index=index, device=str(device))
    return loader


def _fetch(files: Mapping[str, Path], device: torch.device) -> None:
    for tensor in _loader(files, device).values():
        fetched = tensor.to(device)
        if device.type == "cpu":  # mapped only: a byte of each page brings it to memory
            fetched.flatten().view(torch.uint8)[::PAGESIZE].sum()
