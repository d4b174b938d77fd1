"""From how much past on, and up to which density, block-sparse reading is quicker on a device."""

import torch

from lcdoc.engine.sparse_prefill import (
    KEY_BLOCK_TOKENS,
    QUERY_BLOCK_TOKENS,
    SparsePrefill,
    SparseRate,
)
from lcdoc.engine.stopwatch import measure_s
from lcdoc.kernels.attend import attend
from lcdoc.kernels.block_sparse_prefill import attend_blocks

# Tried one after the other; where the last doesn't pay, nothing is read sparsely that any machine could hold.
PAST_TOKENS = (1024, 2048, 4096)
NEVER_TOKENS = 1 << 40
TRIED_DENSITY = 0.25


def measure_sparse(
    device: torch.device, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float
) -> SparseRate:
    """query: a chunk's, [1, heads, length, head_dim]; keys, values: at least the longest past, [1, kv_heads, length,
    head_dim]."""
    from_tokens, most_density = NEVER_TOKENS, TRIED_DENSITY
    for num_past in PAST_TOKENS:
        past = keys[:, :, :num_past], values[:, :, :num_past]
        most_density = _most_density(device, query, *past, scale)
        if most_density < TRIED_DENSITY:
            from_tokens = NEVER_TOKENS
        elif from_tokens == NEVER_TOKENS:
            from_tokens = num_past
    return SparseRate(from_tokens, min(1.0, max(most_density, TRIED_DENSITY)))


def _most_density(
    device: torch.device, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float
) -> float:
    """Where choosing and attending take as long as dense attention, if attending costs in proportion."""
    chooser = SparsePrefill(SparseRate(1, 1.0))
    blocks = -(-query.shape[2] // QUERY_BLOCK_TOKENS), keys.shape[2] // KEY_BLOCK_TOKENS
    keep = torch.rand(query.shape[1], *blocks, device=device).argsort(-1) < TRIED_DENSITY * blocks[1]

    def attend_chosen() -> None:
        sizes = {"query_block": QUERY_BLOCK_TOKENS, "key_block": KEY_BLOCK_TOKENS}
        attend_blocks(query, keys, values, keep, **sizes, scale=scale)

    dense_s = measure_s(device, lambda: attend(query, keys, values, scale=scale))
    choose_s = measure_s(device, lambda: chooser.choose(query, keys, scale))
    sparse_s = measure_s(device, attend_chosen)
    return TRIED_DENSITY * (dense_s - choose_s) / sparse_s
