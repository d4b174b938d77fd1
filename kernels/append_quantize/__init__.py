"""Quantising tokens into pages, with their scales, and with bounds that tell what a page can hold for a query."""

import torch
from lcdoc.kernels.pages import Pages
from lcdoc.kernels.support import MAX_HEAD_DIM, runs_triton

from . import naive

# Tokens that share a least and a largest number for each channel (Quest, arXiv 2406.10774).
BOUND_TOKENS = 16

Bounds = tuple[torch.Tensor, torch.Tensor]


def append_quantize(tokens: torch.Tensor, pages: Pages, bounds: Bounds | None = None) -> None:
    """naive.append_quantize by the fastest path that computes it on this device; shapes are given there."""
    if supports(tokens, pages):
        from . import fused

        fused.append_quantize(tokens, pages, bounds)
    else:
        naive.append_quantize(tokens, pages, bounds)


def supports(tokens: torch.Tensor, pages: Pages) -> bool:
    """Whether the Triton kernel computes this here; otherwise the plain version must."""
    head_dim = tokens.shape[-1]
    return pages.bits < 16 and head_dim <= MAX_HEAD_DIM and head_dim % 2 == 0 and runs_triton(tokens)
