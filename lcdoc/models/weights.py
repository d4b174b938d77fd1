"""Bytes that a model's weights will take, known before any is loaded."""

from typing import TYPE_CHECKING, Any

import torch

from lcdoc.models.foreign import quiet_transformers
from lcdoc.models.placement import stored_weights
from lcdoc.models.support import supported_class

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def weights_bytes(config: "PretrainedConfig", dtype: torch.dtype, weights: str = "model") -> int:
    """Bytes of a model's parameters and buffers, those it shares counted once, as load_model makes them.

    weights: as for load_model. Raises ModelError where no model can be made of the configuration.
    """
    name = config.name_or_path or config.model_type
    model_class = supported_class(config, name)
    with quiet_transformers(f"{name}: no model can be made of its configuration"), torch.device("meta"):
        model: Any = model_class._from_config(config, dtype=dtype)
        if stored_weights(weights, dtype) != "model":
            from lcdoc.models.rounding import replace_linears

            replace_linears(model, stored_weights(weights, dtype))
    return loaded_bytes(model)


def loaded_bytes(model: Any) -> int:
    """Bytes of a model's parameters and buffers, those it shares counted once."""
    return sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
