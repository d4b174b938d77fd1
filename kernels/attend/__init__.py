"""Attention of queries over one part of the keys, returning what is needed to merge parts exactly."""

import torch

from . import fused, naive, products, tiles
from .merging import merge as merge


def attend(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    *,
    scale: float,
    causal: bool = False,
    softcap: float | None = None,
    recurs: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """naive.attend by the fastest path that computes it on this device; shapes and meaning are given there. recurs:
    whether many parts have this shape, so that it pays to make code for it."""
    if not causal and products.supports(query, keys, softcap):
        return products.attend(query, keys, values, scale=scale)
    if tiles.supports(query, keys, softcap, recurs=recurs):
        return tiles.attend(query, keys, values, scale=scale, causal=causal)
    if fused.supports(query, values, softcap):
        return fused.attend(query, keys, values, scale=scale, causal=causal)
    return naive.attend(query, keys, values, scale=scale, causal=causal, softcap=softcap)
