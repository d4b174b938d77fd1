"""Attention of a chunk over first tokens and a window that moves with the query, in one pass."""

from importlib.util import find_spec

import torch

Pair = tuple[torch.Tensor, torch.Tensor]


def supports(query: torch.Tensor, values: torch.Tensor, softcap: float | None) -> bool:
    """Whether there is a kernel for this here; elsewhere parts that need no mask are quicker than naive's one."""
    alike = query.shape[-1] == values.shape[-1] <= 256
    return softcap is None and alike and query.device.type == "cuda" and find_spec("triton") is not None


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
    """naive.attend_sink_window where `supports` says so; shapes and meaning are given there."""
    from . import fused

    at = {"first_query": first_query, "first_key": first_key, "window": window}
    return fused.attend_sink_window(query, sinks, run, **at, scale=scale)
