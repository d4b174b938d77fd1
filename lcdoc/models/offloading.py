"""Weights that stay off the device: decoder layers kept in a CPU's memory or on disk, and streamed through."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import psutil
import torch

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
    held = 0
    if device.type == "cuda":
        held = int(psutil.virtual_memory().available * FREE_SHARE) // layer_bytes(config, dtype)
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
