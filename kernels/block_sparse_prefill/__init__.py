"""Attention of blocks of queries, each over pages of its own choice, which are dequantised as they are read."""

import torch
from lcdoc.kernels import support
from lcdoc.kernels.pages import Pages

from . import naive


def attend_blocks(
    query: torch.Tensor,
    keys: Pages,
    values: Pages,
    keep: torch.Tensor,
    *,
    query_block: int,
    scale: float,
    softcap: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """naive.attend_blocks by the fastest path that computes it on this device; shapes and meaning are given there."""
    if supports(query, keys, values, softcap):
        from . import fused

        return fused.attend_blocks(query, keys, values, keep, query_block=query_block, scale=scale)
    return naive.attend_blocks(
        query, keys, values, keep, query_block=query_block, scale=scale, softcap=softcap
    )


def supports(query: torch.Tensor, keys: Pages, values: Pages, softcap: float | None) -> bool:
    """Whether the Triton kernel computes this here; otherwise the plain version must."""
    alike = query.shape[-1] == keys.head_dim == values.head_dim
    even = query.shape[-1] % 2 == 0 and keys.page_size >= 16
    return alike and even and support.supports(query, query, softcap)
