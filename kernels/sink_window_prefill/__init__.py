"""Attention of a chunk over first tokens and a window that moves with the query, in one pass."""

import torch

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
    """naive.attend_sink_window where lcdoc.kernels.support says so; shapes and meaning are given there. Elsewhere parts
    that need no mask are quicker than naive's one."""
    from . import fused

    at = {"first_query": first_query, "first_key": first_key, "window": window}
    return fused.attend_sink_window(query, sinks, run, **at, scale=scale)
