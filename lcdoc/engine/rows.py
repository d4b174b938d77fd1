"""How many texts have room beside each other, each with keys and values of its own, to be decoded together."""

import torch

from lcdoc.engine.budget import Rung, mark_bytes
from lcdoc.engine.model_shape import ModelShape

# All products of a 135M model's layers with float32 weights take one core 79 ms for 1 row, 125 for 4, 147 for 8, 157
# for 12 and 208 for 16; beyond 8 little is gained, and an interrupt loses more that is unfinished. A CUDA device
# decodes one row by a captured graph, which there is none of for several.
MOST_ROWS = {"cpu": 8, "cuda": 1}


def row_bytes(shape: ModelShape, rung: Rung, capacity_tokens: int) -> int:
    """What each text more takes: keys and values, the mark to go back to, and its logits with a copy in float32."""
    marks = mark_bytes(shape, rung.split, capacity_tokens, rung.kv_dtype, rung.eviction)
    return rung.kv_bytes + marks + 2 * 4 * shape.vocab_size


def num_rows(
    device: torch.device, shape: ModelShape, rung: Rung, capacity_tokens: int, budget_bytes: int
) -> int:
    """How many texts, each read as the rung says, stay within the budget and are decoded together; 1 at the least.

    A device that lacks room for the weights has room for one: which of them are fetched depends on each text's length.
    """
    if rung.offloaded_layers:
        return 1
    more = (budget_bytes - rung.peak_bytes) // row_bytes(shape, rung, capacity_tokens)
    return 1 + max(0, min(more, MOST_ROWS.get(device.type, 1) - 1))
