"""Parts that attention is put together from: each needs no mask, or a plainly causal one.

Queries and keys are [1, heads, length, head_dim]; outputs and their log-sum-exp are as attend returns them.
"""

import torch

from lcdoc.kernels.attend import attend, merge

# Queries that see a moving window are attended in blocks of this many, so that work stays near the window's size.
QUERY_BLOCK_TOKENS = 256

Part = tuple[torch.Tensor, torch.Tensor]


def attend_causal(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    num_past: int,
    scale: float,
    softcap: float | None,
) -> Part:
    """The first num_past keys are seen by all queries, the others causally."""
    new_keys, new_values = keys[:, :, num_past:], values[:, :, num_past:]
    parts = [attend(query, new_keys, new_values, scale=scale, causal=True, softcap=softcap)]
    if num_past:
        past_keys, past_values = keys[:, :, :num_past], values[:, :, :num_past]
        parts.append(attend(query, past_keys, past_values, scale=scale, softcap=softcap))
    return merge(parts)


def band_parts(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    start: int,
    window: int,
    scale: float,
    softcap: float | None,
) -> list[Part]:
    """Attention of a block of queries, the first at index start of keys, over a window that moves with the query. The
    block is shorter than the window.

    The window of the block is a parallelogram: a triangle that the queries leave one by one, a rectangle that
    all see, and a causal triangle. The first, turned round, is causal too.
    """
    num_rows = query.shape[2]
    edge, left = start - window + 1, start - window + 1 + (num_rows if num_rows > 1 else 0)

    def span(first: int, stop: int) -> Part:
        return keys[:, :, first:stop], values[:, :, first:stop]

    parts = [attend(query, *span(start, start + num_rows), scale=scale, causal=num_rows > 1, softcap=softcap)]
    if left < start:
        parts.append(attend(query, *span(left, start), scale=scale, softcap=softcap))
    if edge < left:
        turned = [tensor.flip(2) for tensor in (query, *span(edge, left))]
        output, lse = attend(*turned, scale=scale, causal=True, softcap=softcap)
        parts.append((output.flip(2), lse.flip(2)))
    return parts
