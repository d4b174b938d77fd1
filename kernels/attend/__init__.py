"""Attention of queries over one part of the keys, returning what is needed to merge parts exactly."""

import torch

from . import fused, naive, products


def attend(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    *,
    scale: float,
    causal: bool = False,
    softcap: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """naive.attend by the fastest path that computes it on this device; shapes and meaning are given there."""
    if not causal and products.supports(query, keys, softcap):
        return products.attend(query, keys, values, scale=scale)
    if fused.supports(query, values, softcap):
        return fused.attend(query, keys, values, scale=scale, causal=causal)
    return naive.attend(query, keys, values, scale=scale, causal=causal, softcap=softcap)


def merge(parts: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Joins attention over disjoint sets of keys into attention over their union.

    parts: pairs of output [batch, heads, num_queries, value_dim] and log-sum-exp [batch, heads, num_queries].
    Returns the same pair for all keys together, accumulated in float32.
    """
    if len(parts) == 1:
        return parts[0]
    lses = torch.stack([lse for _, lse in parts])  # [parts, b, h, q]
    total = torch.logsumexp(lses, dim=0)
    weights = torch.exp(lses - total).unsqueeze(-1)
    output = parts[0][0] * weights[0]
    for (part, _), weight in zip(parts[1:], weights[1:], strict=True):
        output.addcmul_(part.to(output.dtype), weight)
    return output.to(parts[0][0].dtype), total
