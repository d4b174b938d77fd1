"""Attention of a streaming group: sinks, and a window that moves with the query (arXiv 2309.17453, 2308.16137)."""

import torch

from lcdoc.engine.buffers import SinkWindowBuffer
from lcdoc.engine.parts import QUERY_BLOCK_TOKENS, Part, attend_causal, band_parts
from lcdoc.kernels.attend import attend, merge
from lcdoc.kernels.sink_window_prefill import attend_sink_window, supports


def attend_window(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    buffer: SinkWindowBuffer,
    scale: float,
    softcap: float | None,
) -> Part:
    """The query at position p sees the sinks and positions p - recent_size + 1 .. p, however the text is chunked."""
    num_new, num_past = keys.shape[2], buffer.seen_tokens
    if num_new == 1:
        buffer.append(keys, values)
        return _attend_held(query, buffer, scale, softcap)
    first, past_keys, past_values = buffer.ordered()
    run_keys = torch.cat((past_keys, keys), dim=2)  # positions first .. num_past + num_new - 1
    run_values = torch.cat((past_values, values), dim=2)
    sink_size, window = buffer.sink_size, buffer.recent_size
    sinks = (run_keys[:, :, :sink_size], run_values[:, :, :sink_size]) if first == 0 else buffer.sinks()
    # Up to this position a query's window reaches back to the sinks: it sees everything.
    num_dense = min(max(sink_size + window - num_past, 0), num_new)
    results = []
    if num_dense:
        stop = num_past + num_dense
        part = run_keys[:, :, :stop], run_values[:, :, :stop]
        results.append(attend_causal(query[:, :, :num_dense], *part, num_past, scale, softcap))
    rest, first_query = query[:, :, num_dense:], num_past + num_dense
    block = max(1, min(QUERY_BLOCK_TOKENS, window - 1))
    if rest.shape[2] and supports(rest, values, softcap) and buffer.near_sinks(rest, first_query) is rest:
        at = {"first_query": first_query, "first_key": first, "window": window}
        results.append(attend_sink_window(rest, sinks, (run_keys, run_values), **at, scale=scale))
        num_dense = num_new
    for start in range(num_dense, num_new, block):
        rows = query[:, :, start : start + block]
        position = num_past + start - first
        parts = band_parts(rows, run_keys, run_values, position, window, scale, softcap)
        if sink_size:
            near_sinks = buffer.near_sinks(rows, num_past + start)
            parts.append(attend(near_sinks, *sinks, scale=scale, softcap=softcap))
        results.append(merge(parts))
    buffer.append(keys, values)
    outputs, lses = zip(*results, strict=True)
    return torch.cat(outputs, dim=2), torch.cat(lses, dim=2)


def _attend_held(query: torch.Tensor, buffer: SinkWindowBuffer, scale: float, softcap: float | None) -> Part:
    """One query, the last token held, sees all that is held."""
    position = buffer.seen_tokens - 1
    keys, values = buffer.held()
    near_sinks = buffer.near_sinks(query, position)
    if near_sinks is query:
        return attend(query, keys, values, scale=scale, softcap=softcap)
    ring = keys[:, :, buffer.sink_size :], values[:, :, buffer.sink_size :]
    sinks = attend(near_sinks, *buffer.sinks(), scale=scale, softcap=softcap)
    return merge([attend(query, *ring, scale=scale, softcap=softcap), sinks])
