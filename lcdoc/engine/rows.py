"""How many texts have room beside each other, each with keys and values of its own, to be decoded together."""

import torch

from lcdoc.engine.budget import ModelShape, Rung, mark_bytes

# Decoding of several rows is quicker by about as much as there are, up to here; each row more gains less, and an
# interrupt loses more that is unfinished. A CUDA device decodes one row by a captured graph, and several without.
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
