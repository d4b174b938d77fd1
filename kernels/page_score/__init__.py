"""How much a query may at most attend to each page of keys, from the bounds of its blocks."""

from importlib.util import find_spec

import torch

from . import naive
from .naive import block_bounds

__all__ = ["block_bounds", "page_score", "supports"]


def page_score(query: torch.Tensor, least: torch.Tensor, most: torch.Tensor) -> torch.Tensor:
    """naive.page_score by the fastest path that computes it on this device; shapes and meaning are given there."""
    if supports(query):
        from . import fused

        return fused.page_score(query, least, most)
    return naive.page_score(query, least, most)


def supports(query: torch.Tensor) -> bool:
    """Whether the Triton kernel computes this here; otherwise the plain version must."""
    return query.device.type == "cuda" and query.shape[-1] <= 256 and find_spec("triton") is not None
