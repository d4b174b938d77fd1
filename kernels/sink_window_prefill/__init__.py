"""Attention of a chunk over first tokens and a window that moves with the query, in one pass."""

import torch
from lcdoc.kernels import support

from . import naive, tiles

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
    """naive.attend_sink_window by the fastest path that computes it on this device, where every query's window begins
    behind the sinks; shapes and meaning are given there."""
    at = {"first_query": first_query, "first_key": first_key, "window": window}
    if support.supports(query, run[1], None):
        from . import fused

        return fused.attend_sink_window(query, sinks, run, **at, scale=scale)
    if tiles.supports(query, run[1], None):
        return tiles.attend_sink_window(query, sinks, run, **at, scale=scale)
    return naive.attend_sink_window(query, sinks, run, **at, scale=scale)


def supports(query: torch.Tensor, values: torch.Tensor, softcap: float | None) -> bool:
    """Whether there is a quick path; otherwise parts that need no mask are quicker than the plain version's one."""
    return support.supports(query, values, softcap) or tiles.supports(query, values, softcap)
