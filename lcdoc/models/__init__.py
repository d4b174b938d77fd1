"""Models: from a name to files, from files to a tokenizer and a loaded model.

Only `pull` and `pull_default` reach the network. Nothing heavy is imported before a name is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lcdoc.models.catalogue import ModelEntry, list_models, remove, show
    from lcdoc.models.files import ModelFiles, resolve
    from lcdoc.models.loading import load_config, load_config_file, load_model, load_tokenizer
    from lcdoc.models.offloading import fetched_from, layer_bytes
    from lcdoc.models.packaged import DEFAULT_MODEL
    from lcdoc.models.placement import choose_device, choose_dtype, stored_weights
    from lcdoc.models.pulling import pull, pull_default
    from lcdoc.models.support import WeightCount, count_weights, num_parameters
    from lcdoc.models.weights import loaded_bytes, weights_bytes

_MODULE_OF = {
    "DEFAULT_MODEL": "packaged",
    "ModelEntry": "catalogue",
    "ModelFiles": "files",
    "WeightCount": "support",
    "choose_device": "placement",
    "choose_dtype": "placement",
    "count_weights": "support",
    "fetched_from": "offloading",
    "layer_bytes": "offloading",
    "list_models": "catalogue",
    "load_config": "loading",
    "load_config_file": "loading",
    "load_model": "loading",
    "load_tokenizer": "loading",
    "loaded_bytes": "weights",
    "num_parameters": "support",
    "pull": "pulling",
    "pull_default": "pulling",
    "remove": "catalogue",
    "resolve": "files",
    "show": "catalogue",
    "stored_weights": "placement",
    "weights_bytes": "weights",
}

__all__ = [
    "DEFAULT_MODEL",
    "ModelEntry",
    "ModelFiles",
    "WeightCount",
    "choose_device",
    "choose_dtype",
    "count_weights",
    "fetched_from",
    "layer_bytes",
    "list_models",
    "load_config",
    "load_config_file",
    "load_model",
    "load_tokenizer",
    "loaded_bytes",
    "num_parameters",
    "pull",
    "pull_default",
    "remove",
    "resolve",
    "show",
    "stored_weights",
    "weights_bytes",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
