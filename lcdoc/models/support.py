"""Which models lcdoc can read with: decoders whose attention is computed through one replaceable function."""

from typing import TYPE_CHECKING, Any

from lcdoc.errors import ModelError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

SUPPORTED_LAYERS = {"full_attention", "sliding_attention"}


def supported_class(config: "PretrainedConfig", name: str) -> "type[PreTrainedModel]":
    """The class that runs this configuration. Raises ModelError where lcdoc can't read with it."""
    from transformers import AutoModelForCausalLM

    mapping: Any = AutoModelForCausalLM._model_mapping
    reason = _unsupported_by_config(config)
    if reason is None and type(config) not in mapping:
        reason = "it does not write text"
    if reason is None:
        model_class: type[PreTrainedModel] = mapping[type(config)]
        reason = _unsupported_by_class(model_class)
    if reason is not None:
        raise ModelError(f"{name}: {config.model_type} models are not supported: {reason}")
    return model_class


def num_parameters(config: "PretrainedConfig") -> int:
    """Weights of the model, those it shares counted once; none is allocated."""
    import torch

    model_class = supported_class(config, config.name_or_path or config.model_type)
    with torch.device("meta"):
        model = model_class(config)
    return sum(weight.numel() for weight in model.parameters())


def _unsupported_by_config(config: "PretrainedConfig") -> str | None:
    text = config.get_text_config(decoder=True)
    if getattr(config, "is_encoder_decoder", False):
        return "it has an encoder apart from its decoder"
    if getattr(text, "is_decoder", None) is False:  # only those that can be either have the setting
        return "it reads in both directions"
    if getattr(text, "num_kv_shared_layers", None):
        return f"{text.num_kv_shared_layers} of its layers use the keys and values of others"
    kinds = set(getattr(text, "layer_types", None) or ())
    if getattr(text, "attention_chunk_size", None) or "chunked_attention" in kinds:
        return "its attention is cut into chunks"
    unknown = sorted(kinds - SUPPORTED_LAYERS)
    return f"it has layers of kind {unknown[0]}" if unknown else None


def _unsupported_by_class(model_class: "type[PreTrainedModel]") -> str | None:
    if model_class._is_stateful:
        return "it keeps a state that is not keys and values"
    if not model_class._supports_attention_backend:
        return "its attention can't be replaced"
    return None
