"""Sinks and a moving window in bfloat16 on a CPU: a block of queries and all keys that any of them sees are one tile;
what one query does not see of it lies in two triangles."""

from functools import partial

import torch
from lcdoc.kernels.attend import products
from lcdoc.kernels.attend.tiles import LEAST_ROWS, MOST_SCORES, attend_tile, even_blocks, hide_later

Pair = tuple[torch.Tensor, torch.Tensor]

# Rows of a tile are at least twice so many; beyond that, queries of a block: the more, the more of its tile is hidden.
MOST_QUERIES = 128


def supports(query: torch.Tensor, values: torch.Tensor, softcap: float | None) -> bool:
    """Whether tiles are computed here, sooner than parts that need no mask."""
    num_rows = query.shape[1] // values.shape[1] * query.shape[2]
    return products.multiplies(query, softcap) and num_rows >= LEAST_ROWS


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
    """As naive.attend_sink_window, where every query's window begins behind the sinks."""
    kv_heads, num_sinks = run[0].shape[1], sinks[0].shape[2]
    groups = query[0].unflatten(0, (kv_heads, -1))  # [kv, group, q, d]
    output = query.new_empty(*groups.shape[:-1], run[1].shape[-1])
    lse = torch.empty(groups.shape[:-1], dtype=torch.float32)
    longest = _block_queries(groups.shape[1], num_sinks + window)
    outside = torch.full((longest, longest), float("-inf"))
    hide = partial(_hide_triangles, outside.triu(1), outside.tril(-1), num_sinks)
    for start, stop in even_blocks(groups.shape[2], longest):
        edge = first_query - first_key + start - window + 1
        last = edge + window - 1 + stop - start
        for head in range(kv_heads):
            tile = (
                torch.cat((own[0, head], some[0, head, edge:last]))
                for own, some in zip(sinks, run, strict=True)
            )
            output[head, :, start:stop], lse[head, :, start:stop] = attend_tile(
                groups[head, :, start:stop], *tile, scale, hide
            )
    return output.flatten(0, 1)[None], lse.flatten(0, 1)[None]


def _hide_triangles(later: torch.Tensor, earlier: torch.Tensor, num_sinks: int, scores: torch.Tensor) -> None:
    """scores: [group, queries, sinks and keys], from the first query's window on. later, earlier: added to those of the
    last keys and of the first ones behind the sinks, of as many as there are queries; [queries, queries] or more."""
    num_rows = scores.shape[1]
    hide_later(later, scores)
    scores[..., num_sinks : num_sinks + num_rows] += earlier[:num_rows, :num_rows]


def _block_queries(group: int, num_seen: int) -> int:
    """How many queries are one block, each with so many heads and keys that it sees."""
    longest = max(MOST_QUERIES, 2 * LEAST_ROWS // group)
    return max(1, min(longest, MOST_SCORES // group // (num_seen + longest)))
