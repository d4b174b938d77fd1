"""Keys and values that are made up, in place of a long reading."""

import torch

from lcdoc.engine.head_slices import pick_heads
from lcdoc.engine.model_shape import ModelShape
from lcdoc.engine.reader import Reader

FILL_TOKENS = 16_384


@torch.inference_mode()
def fill(reader: Reader, num_tokens: int) -> None:
    """Makes the reader one that has read so many tokens more, with random keys and values and no model's work."""
    if not num_tokens:
        return
    model = reader.model
    shape = ModelShape.from_config(model.config, 0, model.dtype)
    sizes = 1, shape.num_kv_heads, min(num_tokens, FILL_TOKENS), shape.head_dim
    keys, values = (torch.randn(sizes, device=model.device, dtype=model.dtype) for _ in range(2))
    for layer, window in zip(reader.cache.layers, shape.windows, strict=True):
        for group, buffer in layer.groups(keys, values, window):
            own = pick_heads(keys, group.kv_heads), pick_heads(values, group.kv_heads)
            for start in range(0, num_tokens, FILL_TOKENS):
                count = min(FILL_TOKENS, num_tokens - start)
                buffer.append(own[0][:, :, :count], own[1][:, :, :count])
