"""What decides how much memory a model takes, from its configuration alone."""

from dataclasses import dataclass
from typing import Any

import torch

from lcdoc.engine.packed_linear import packs
from lcdoc.kernels.attend.tiles import MOST_SCORES, SCORE_BYTES

# Code for the shapes of products in 16 bits on a CPU, few of which are kept, and what attention makes of these.
KERNEL_BYTES = (34 << 20) + MOST_SCORES * SCORE_BYTES


@dataclass(frozen=True)
class ModelShape:
    """What decides a model's memory. windows: each layer's own sliding window in tokens, or None. layer_bytes: of one
    layer's weights where layers can be kept off the device, else 0. scratch_bytes: what products take besides,
    measured with torch 2.13: on a CPU in 16 bits code for each shape, and the output layer's weight once more, which is
    laid out anew: where layers are packed once for all, and only if it is the embedding's too, else each time."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    hidden_size: int
    intermediate_size: int
    vocab_size: int
    windows: tuple[int | None, ...]
    weights_bytes: int
    dtype: torch.dtype
    layer_bytes: int = 0
    scratch_bytes: int = 0

    @classmethod
    def from_config(
        cls,
        config: Any,
        weights_bytes: int,
        dtype: torch.dtype,
        layer_bytes: int = 0,
        device: torch.device | None = None,
    ) -> "ModelShape":
        """config: of a transformers decoder. weights_bytes: in the dtype that they are loaded in. device: given where
        it matters what products take there."""
        text = config.get_text_config()
        scratch_bytes = 0
        if device is not None and device.type == "cpu" and dtype.itemsize == 2:
            again = getattr(config, "tie_word_embeddings", True) or not packs(device, dtype)
            scratch_bytes = KERNEL_BYTES + again * text.vocab_size * text.hidden_size * dtype.itemsize
        return cls(
            num_heads=text.num_attention_heads,
            num_kv_heads=getattr(text, "num_key_value_heads", None) or text.num_attention_heads,
            head_dim=getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads,
            hidden_size=text.hidden_size,
            intermediate_size=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
            vocab_size=text.vocab_size,
            windows=_layer_windows(text),
            weights_bytes=weights_bytes,
            dtype=dtype,
            layer_bytes=layer_bytes,
            scratch_bytes=scratch_bytes,
        )

    @property
    def num_layers(self) -> int:
        return len(self.windows)

    @property
    def num_open_heads(self) -> int:
        """(layer, KV head) pairs outside layers with a window of their own: they see everything unless they are made to
        stream, and are what a share of streaming heads is a share of."""
        return self.windows.count(None) * self.num_kv_heads


def _layer_windows(text: Any) -> tuple[int | None, ...]:
    window = getattr(text, "sliding_window", None)
    if getattr(text, "use_sliding_window", None) is False:
        window = None
    kinds = getattr(text, "layer_types", None) or ["sliding_attention"] * text.num_hidden_layers
    return tuple(window if kind == "sliding_attention" else None for kind in kinds)
