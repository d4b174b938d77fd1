"""Attention of blocks of queries, each over blocks of keys of its own choice."""

import torch
from lcdoc.kernels.support import supports

from . import naive


def attend_blocks(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    keep: torch.Tensor,
    *,
    query_block: int,
    key_block: int,
    scale: float,
    softcap: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """naive.attend_blocks by the fastest path that computes it on this device; shapes and meaning are given there."""
    blocks = {"query_block": query_block, "key_block": key_block}
    if supports(query, values, softcap):
        from . import fused

        return fused.attend_blocks(query, keys, values, keep, **blocks, scale=scale)
    return naive.attend_blocks(query, keys, values, keep, **blocks, scale=scale, softcap=softcap)
