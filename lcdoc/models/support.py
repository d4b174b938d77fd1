"""Which models lcdoc can read with: decoders whose attention is computed through one replaceable function."""

from typing import TYPE_CHECKING

from lcdoc.errors import ModelError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

SUPPORTED_LAYERS = {"full_attention", "sliding_attention"}


def supported_class(config: "PretrainedConfig", name: str) -> "type[PreTrainedModel]":
    """The class that runs this configuration. Raises ModelError where lcdoc can't read with it."""
    from transformers import AutoModelForCausalLM

    reason = _unsupported_layers(config)
    if reason:
        raise ModelError(f"{name}: not supported: {reason}")
    if type(config) not in AutoModelForCausalLM._model_mapping:
        raise ModelError(f"{name}: not supported: {config.model_type} models do not write text")
    model_class = AutoModelForCausalLM._model_mapping[type(config)]
    if getattr(model_class, "_is_stateful", False):
        raise ModelError(
            f"{name}: not supported: {config.model_type} keeps a recurrent state, not keys and values"
        )
    if not model_class._supports_attention_backend:
        raise ModelError(
            f"{name}: not supported: the attention of {config.model_type} models can't be replaced"
        )
    return model_class


def _unsupported_layers(config: "PretrainedConfig") -> str | None:
    text = config.get_text_config(decoder=True)
    if getattr(config, "is_encoder_decoder", False):
        return "an encoder with a decoder"
    if getattr(text, "num_kv_shared_layers", None):
        return f"{text.num_kv_shared_layers} layers share the keys and values of others"
    kinds = set(getattr(text, "layer_types", None) or ())
    if getattr(text, "attention_chunk_size", None) or "chunked_attention" in kinds:
        return "its attention is computed in chunks"
    unknown = sorted(kinds - SUPPORTED_LAYERS)
    return f"layers of kind {unknown[0]}" if unknown else None
