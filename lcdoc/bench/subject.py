"""What is measured: a real model, or one of a known shape with random weights, which costs the same."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lcdoc.engine.attention import register
from lcdoc.engine.packed_linear import pack_linears, packs
from lcdoc.errors import ModelError, UsageError
from lcdoc.models import ModelFiles, load_model, resolve
from lcdoc.models.importing import import_transformers
from lcdoc.models.placement import choose_device, choose_dtype, stored_weights

SHAPES: dict[str, dict[str, Any]] = {
    "llama-tiny": {
        "vocab_size": 512,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
    },
    "smollm2-135m": {
        "vocab_size": 49_152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "max_position_embeddings": 8192,
        "rope_parameters": {"rope_type": "default", "rope_theta": 100_000.0},
        "tie_word_embeddings": True,
    },
    "smollm2-2-layers": {
        "vocab_size": 49_152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 2,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "max_position_embeddings": 8192,
        "rope_parameters": {"rope_type": "default", "rope_theta": 100_000.0},
        "tie_word_embeddings": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
    },
    "llama-3-8b": {
        "vocab_size": 128_256,
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 8192,
        "rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0},
    },
}


@dataclass(frozen=True)
class Subject:
    """At most one of model, shape and model_config is given; with none it is the default model.

    model: a name, a hub id, a folder or a .gguf file. shape: one of SHAPES. model_config: a config.json.
    Raises UsageError for a combination or a shape that is not allowed.
    """

    model: str | None = None
    shape: str | None = None
    model_config: str | None = None
    device: str = "auto"
    dtype: str = "auto"

    def __post_init__(self) -> None:
        if sum(choice is not None for choice in (self.model, self.shape, self.model_config)) > 1:
            raise UsageError("--model, --shape and --model-config exclude each other; choose one")
        if self.shape is not None and self.shape not in SHAPES:
            raise UsageError(f"shape must be one of {', '.join(SHAPES)}, not {self.shape!r}")

    @property
    def files(self) -> ModelFiles | None:
        """The real model's; None for random weights."""
        return None if self.shape or self.model_config else resolve(self.model)

    @property
    def name(self) -> str:
        return self.files.name if self.files else f"random weights, {self.shape or self.model_config}"

    @property
    def packs(self) -> bool:
        """Whether lcdoc lays weights out anew, so that stock transformers must have a model of its own."""
        device = choose_device(self.device)
        return packs(device, choose_dtype(self.dtype, device))

    def load(self, weights: str = "model", *, packed: bool = True) -> Any:
        """The model, in eval mode on its device, attending with lcdoc's attention. weights: how its linear layers are
        stored. packed: whether they may be laid out for a CPU's products."""
        if self.files:
            return load_model(
                self.files,
                device=self.device,
                dtype=self.dtype,
                weights=weights,
                packed=packed,
                attn_implementation=register(),
            )
        model = self._random_model()
        from lcdoc.models.rounding import replace_linears

        weights = stored_weights(weights, model.dtype)
        if weights != "model":
            model = replace_linears(model, weights)
        if packed and self.packs:
            pack_linears(model)
        return model

    def _random_model(self) -> Any:
        import_transformers()
        import torch
        from transformers import AutoModelForCausalLM

        config, device = self.random_config(), choose_device(self.device)
        torch.manual_seed(0)
        try:
            with device:
                model = AutoModelForCausalLM.from_config(
                    config, dtype=choose_dtype(self.dtype, device), attn_implementation=register()
                )
        except (ValueError, KeyError, TypeError) as error:
            raise self._unusable(error) from error
        return model.eval().requires_grad_(False)

    def random_config(self) -> Any:
        """transformers' configuration of random weights."""
        import_transformers()
        from transformers import AutoConfig

        values = {"model_type": "llama", **SHAPES[self.shape]} if self.shape else self._config_values()
        try:
            return AutoConfig.for_model(**values)
        except (ValueError, KeyError, TypeError) as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> ModelError:
        return ModelError(f"{self.name}: no model can be made of it: {str(error).splitlines()[0]}")

    def _config_values(self) -> dict[str, Any]:
        try:
            values = json.loads(Path(str(self.model_config)).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UsageError(f"{self.model_config}: can't be read as a config.json: {error}") from error
        if not isinstance(values, dict) or "model_type" not in values:
            raise UsageError(f"{self.model_config}: not a model's config.json; it names no model_type")
        return values
