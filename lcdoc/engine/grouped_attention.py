"""Attention with grouped positions (Self-Extend, arXiv 2401.01325): near and far keys apart, joined by log-sum-exp."""

import torch

from lcdoc.engine.grouped_buffer import GroupedBuffer
from lcdoc.engine.parts import QUERY_BLOCK_TOKENS, Part, attend_causal, band_parts
from lcdoc.kernels.attend import attend, merge


def attend_grouped(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    buffer: GroupedBuffer,
    scale: float,
    softcap: float | None,
) -> Part:
    """The query at position p sees positions p - near_tokens + 1 .. p as they are and all before these grouped, however
    the text is chunked."""
    num_new, num_past, near_tokens = keys.shape[2], buffer.seen_tokens, buffer.grouping.near_tokens
    buffer.append(keys, values)
    if num_new == 1 and num_past >= near_tokens:
        return _attend_last(query, buffer, scale, softcap)
    held_keys, held_values = buffer.held()
    # Up to this position nothing is far.
    num_dense = min(max(near_tokens - num_past, 0), num_new)
    results = []
    if num_dense:
        stop = num_past + num_dense
        part = held_keys[:, :, :stop], held_values[:, :, :stop]
        results.append(attend_causal(query[:, :, :num_dense], *part, num_past, scale, softcap))
    block = max(1, min(QUERY_BLOCK_TOKENS, near_tokens - 1))
    for start in range(num_dense, num_new, block):
        rows = query[:, :, start : start + block]
        results.append(_attend_block(rows, buffer, num_past + start, scale, softcap))
    outputs, lses = zip(*results, strict=True)
    return torch.cat(outputs, dim=2), torch.cat(lses, dim=2)


def _attend_last(query: torch.Tensor, buffer: GroupedBuffer, scale: float, softcap: float | None) -> Part:
    """The last token alone."""
    buffer.settle(buffer.turned_keys(1))
    keys, values = buffer.held()
    far, turned = buffer.num_far, buffer.turned_queries(query, buffer.seen_tokens - 1)
    return merge(
        [
            attend(query, keys[:, :, far:], values[:, :, far:], scale=scale, softcap=softcap),
            attend(turned, keys[:, :, :far], values[:, :, :far], scale=scale, softcap=softcap),
        ]
    )


def _attend_block(
    query: torch.Tensor, buffer: GroupedBuffer, first: int, scale: float, softcap: float | None
) -> Part:
    """A block of queries, the first at this position, each of which sees one more key from afar than the one before."""
    keys, values = buffer.held()
    num_rows, far = query.shape[2], buffer.num_far
    parts = band_parts(query, keys, values, first, buffer.grouping.near_tokens, scale, softcap)
    turned, leaving = buffer.turned_queries(query, first), buffer.turned_keys(num_rows)
    if far:
        parts.append(attend(turned, keys[:, :, :far], values[:, :, :far], scale=scale, softcap=softcap))
    leaving_values = values[:, :, far : far + num_rows]
    parts.append(attend(turned, leaving, leaving_values, scale=scale, causal=num_rows > 1, softcap=softcap))
    buffer.settle(leaving)
    return merge(parts)
