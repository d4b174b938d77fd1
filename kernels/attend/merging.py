"""Joining attention over several sets of keys."""

import torch


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
