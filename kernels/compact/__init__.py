"""Moving the tokens that stay to the front, head by head, where they are."""

import torch
from lcdoc.kernels.support import runs_triton

from . import naive


def compact(tokens: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """naive.compact by the fastest path that computes it on this device; shapes and meaning are given there."""
    if runs_triton(tokens):
        from . import fused

        return fused.compact(tokens, kept)
    return naive.compact(tokens, kept)
