"""Attention of one query over pages of keys and values, which are dequantised as they are read."""

import torch
from lcdoc.kernels import support
from lcdoc.kernels.pages import Pages

from . import naive

Pair = tuple[torch.Tensor, torch.Tensor]


def supports(query: torch.Tensor, keys: Pages, values: Pages, softcap: float | None) -> bool:
    """Whether the Triton kernel computes this here; elsewhere blocks dequantised one after another take less memory
    than the plain version's whole."""
    shorten = 2 if keys.bits == 4 else 1
    alike = query.shape[-1] == keys.codes.shape[-1] * shorten == values.codes.shape[-1] * shorten
    even = query.shape[-1] % 2 == 0 and query.shape[2] == 1 and keys.page_size >= 16
    return alike and even and support.supports(query, query, softcap)


def paged_decode(
    query: torch.Tensor,
    keys: Pages,
    values: Pages,
    num_tokens: torch.Tensor,
    *,
    scale: float,
    page_lists: torch.Tensor | None = None,
) -> Pair:
    """naive.paged_decode by the fastest path that computes it on this device; shapes and meaning are given there."""
    if supports(query, keys, values, None):
        from . import fused

        return fused.paged_decode(query, keys, values, num_tokens, scale=scale, page_lists=page_lists)
    return naive.paged_decode(query, keys, values, num_tokens, scale=scale, page_lists=page_lists)
