"""How a block of queries' attention is spread over blocks of keys, from a sample of the queries."""

import torch
from lcdoc.kernels.support import MAX_HEAD_DIM, runs_triton

from . import naive


def block_score(
    query: torch.Tensor, keys: torch.Tensor, *, scale: float, query_block: int, key_block: int, stride: int
) -> torch.Tensor:
    """naive.block_score by the fastest path that computes it on this device; shapes are given there."""
    blocks = {"query_block": query_block, "key_block": key_block, "stride": stride}
    if supports(query):
        from . import fused

        return fused.block_score(query, keys, scale=scale, **blocks)
    return naive.block_score(query, keys, scale=scale, **blocks)


def supports(query: torch.Tensor) -> bool:
    """Whether the Triton kernel computes this here; otherwise the plain version must."""
    return query.shape[-1] <= MAX_HEAD_DIM and runs_triton(query)
