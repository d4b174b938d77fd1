"""Weights that stay off the device: decoder layers kept in a CPU's memory or on disk, and streamed through."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import psutil
import torch

from lcdoc.engine.fetching import CACHED, DISK, MEMORY
from lcdoc.models.foreign import quiet_transformers
from lcdoc.models.support import supported_class

if TYPE_CHECKING:
    from transformers import PretrainedConfig

# Of the memory that is free, the share that layers off a GPU may take; the others stay on disk.
FREE_SHARE = 0.8


def layer_bytes(config: "PretrainedConfig", dtype: torch.dtype) -> int:
    """Bytes of the largest decoder layer's weights. Raises ModelError as weights_bytes does."""
    return max(
        sum(weight.nbytes for weight in layer.parameters()) for layer in _without_weights(config, dtype)[1]
    )


def device_map(
    config: "PretrainedConfig", dtype: torch.dtype, device: torch.device, offloaded_layers: int
) -> dict[str, int | str]:
    """Where accelerate is to keep each part: the last offloaded_layers off the device, all else on it."""
    model, layers = _without_weights(config, dtype)
    held = _held_layers(device, layer_bytes(config, dtype))
    resident = len(layers) - offloaded_layers
    on_device = device.index or 0 if device.type == "cuda" else "cpu"
    places: dict[str, int | str] = {}
    for path in _parts(model, layers, ""):
        places[path] = on_device
    (layers_path,) = [path for path, module in model.named_modules() if module is layers]
    for index in range(len(layers)):
        elsewhere = "cpu" if index - resident < held else "disk"
        places[f"{layers_path}.{index}"] = on_device if index < resident else elsewhere
    return places


def fetched_from(
    device: torch.device, offloaded_layers: int, one_layer_bytes: int, reading_bytes: int
) -> dict[str, int]:
    """How many of the offloaded layers lie where between two passes, as for Rates.fetch_s.

    reading_bytes: what a CPU's memory will yet have to hold for the reading. What lies in files counts as cached where
    the memory that is free now has room for all of it besides, and else none of it: each pass reads the files from the
    first byte to the last, so that a part's turn comes when it was just dropped.
    """
    held = min(offloaded_layers, _held_layers(device, one_layer_bytes))
    taken_bytes = held * one_layer_bytes if device.type == "cuda" else reading_bytes
    filed = offloaded_layers - held
    cached = taken_bytes + filed * one_layer_bytes <= psutil.virtual_memory().available
    layers = {MEMORY: held, CACHED if cached else DISK: filed}
    return {place: count for place, count in layers.items() if count}


def _held_layers(device: torch.device, one_layer_bytes: int) -> int:
    """How many layers off the device a GPU's host has memory for; a CPU has none besides."""
    if device.type != "cuda":
        return 0
    return int(psutil.virtual_memory().available * FREE_SHARE) // one_layer_bytes


def _parts(module: Any, layers: Any, path: str) -> Iterator[str]:
    """The largest parts that hold none of the layers."""
    for name, child in module.named_children():
        if child is layers:
            continue
        if any(part is layers for part in child.modules()):
            yield from _parts(child, layers, f"{path}{name}.")
        else:
            yield f"{path}{name}"


def _without_weights(config: "PretrainedConfig", dtype: torch.dtype) -> tuple[Any, Any]:
    """The model on the meta device, and its decoder layers."""
    name = config.name_or_path or config.model_type
    model_class = supported_class(config, name)
    with quiet_transformers(f"{name}: no model can be made of its configuration"), torch.device("meta"):
        model: Any = model_class._from_config(config, dtype=dtype)
    return model, model.get_decoder().layers
