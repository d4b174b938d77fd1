"""Attention of a chunk over first tokens and a window that moves with the query, in one pass."""

import torch
from lcdoc.kernels.support import supports

from . import naive

Pair = tuple[torch.Tensor, torch.Tensor]


def attend_sink_window(
    query: torch.Tensor,
    sinks: Pair,
    run: Pair,
    *,
    first_query: int,
    first_key: int,
    window: int,
    scale: float,
) -> Pair:
    """naive.attend_sink_window by the fastest path that computes it on this device; shapes and meaning are given there.
    Where lcdoc.kernels.support has no kernel, parts that need no mask are quicker than the plain version's one."""
    at = {"first_query": first_query, "first_key": first_key, "window": window}
    if supports(query, run[1], None):
        from . import fused

        return fused.attend_sink_window(query, sinks, run, **at, scale=scale)
    return naive.attend_sink_window(query, sinks, run, **at, scale=scale)
