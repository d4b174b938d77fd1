"""Which models lcdoc can read with: decoders whose attention is computed through one replaceable function."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lcdoc.errors import ModelError
from lcdoc.models.foreign import quiet_transformers

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


def is_rounded(config: "PretrainedConfig") -> bool:
    """Whether the files themselves hold weights of a few bits, in a format that transformers knows."""
    text = config.get_text_config(decoder=True)
    return any(getattr(part, "quantization_config", None) is not None for part in (config, text))


@dataclass(frozen=True)
class WeightCount:
    """total: weights of the model, those it shares counted once. per_token: those of the layers' matrices that one
    token is multiplied with: no embeddings, no head, and of experts only as many as a token is sent to."""

    total: int
    per_token: int


def count_weights(config: "PretrainedConfig") -> WeightCount:
    """Counts without allocating any. Raises ModelError for a model that lcdoc can't read with."""
    import torch

    model = _without_weights(config)
    text = config.get_text_config(decoder=True)
    decoder, per_token = model.get_decoder(), 0
    embeddings = {part.weight for part in decoder.modules() if isinstance(part, torch.nn.Embedding)}
    for name, weight in decoder.named_parameters():
        if weight.dim() == 2 and weight not in embeddings:
            per_token += weight.numel()
        elif weight.dim() == 3 and ".experts." in name:
            used = getattr(text, "num_experts_per_tok", None) or weight.shape[0]
            per_token += weight.numel() * used // weight.shape[0]
    return WeightCount(_total(model), per_token)


def num_parameters(config: "PretrainedConfig") -> int:
    """Weights of the model, those it shares counted once; none is allocated."""
    return _total(_without_weights(config))


def _without_weights(config: "PretrainedConfig") -> Any:
    import torch

    name = config.name_or_path or config.model_type
    model_class = supported_class(config, name)
    with quiet_transformers(f"{name}: no model can be made of its configuration"), torch.device("meta"):
        return model_class(config)


def _total(model: Any) -> int:
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
