"""How a block of queries' attention is spread over pages of keys, from a sample of the queries."""

import torch
from lcdoc.kernels.pages import Pages
from lcdoc.kernels.support import MAX_HEAD_DIM, runs_triton

from . import naive, products


def block_score(
    query: torch.Tensor, near_keys: torch.Tensor, keys: Pages, *, scale: float, query_block: int, stride: int
) -> torch.Tensor:
    """naive.block_score by the fastest path that computes it on this device; shapes are given there."""
    blocks = {"query_block": query_block, "stride": stride}
    if supports(query, keys):
        from . import fused

        return fused.block_score(query, near_keys, keys, scale=scale, **blocks)
    if products.supports(query):
        return products.block_score(query, near_keys, keys, scale=scale, **blocks)
    return naive.block_score(query, near_keys, keys, scale=scale, **blocks)


def supports(query: torch.Tensor, keys: Pages) -> bool:
    """Whether the Triton kernel computes this here; otherwise the plain version must."""
    head_dim = query.shape[-1]
    return head_dim <= MAX_HEAD_DIM and head_dim % 2 == 0 and keys.page_size >= 16 and runs_triton(query)
