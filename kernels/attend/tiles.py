"""The same part of attention for many queries in bfloat16 on a CPU: the scores of a tile of queries and keys as one
product in float32, then one softmax over all of them.

PyTorch's flash kernel multiplies 32 to 256 queries by 512 keys at a time. Over tiles this large one product is quicker,
and what it leaves to do, one pass after the other, stays in the cache. oneDNN's product in float32 of numbers that were
bfloat16 takes 0.6 of the time of two in bfloat16 with exact scores as their sum, and of MKL's in float32.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch

from . import products
from .merging import merge

Part = tuple[torch.Tensor, torch.Tensor]

# Scores made at a time, and what each takes meanwhile: float32, and bfloat16 when it is multiplied by values; in a tile
# of few rows its keys in float32 take as much again.
MOST_SCORES, SCORE_BYTES = 1 << 20, 8
# Rows of a tile, queries times heads of a group: fewer than the least cost as much, more than the most save nothing.
LEAST_ROWS, MOST_ROWS = 128, 512
# A tile of fewer keys is no quicker than the flash kernel: 128 queries of 512 keys take 0.6 of its time on one core and
# 0.8 on two, of 3,072 keys 0.5 and 0.6 (torch 2.13).
LEAST_KEYS = 512
# oneDNN makes code for each new shape of product, 0.7 ms for the two of a tile: what fewer scores do not win.
LEAST_SCORES = 1 << 20
# Queries of one tile where each sees itself and those before it: the more, the more of the tile is hidden.
CAUSAL_QUERIES = 256

# What lies outside a query's sight in a tile: takes scores [group, queries, keys] and overwrites those.
Hide = Callable[[torch.Tensor], None]


def supports(query: torch.Tensor, keys: torch.Tensor, softcap: float | None, *, recurs: bool = False) -> bool:
    """Whether this part is computed here, sooner than by the flash kernel. recurs: see attend."""
    num_rows, num_keys = query.shape[1] // keys.shape[1] * query.shape[2], keys.shape[2]
    pays = recurs or query.shape[:3].numel() * num_keys >= LEAST_SCORES
    return products.multiplies(query, softcap) and num_rows >= LEAST_ROWS and num_keys >= LEAST_KEYS and pays


def attend(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, *, scale: float, causal: bool = False
) -> Part:
    """As naive.attend, without softcap. Queries of one group share their keys; nothing is repeated."""
    if causal:
        return _attend_causal(query, keys, values, scale)
    kv_heads, num_keys = keys.shape[1:3]
    rows = query.reshape(query.shape[0] * kv_heads, -1, query.shape[3])  # [b * kv, rows, d]
    output = query.new_empty(*rows.shape[:2], values.shape[-1])
    lse = torch.empty(rows.shape[:2], dtype=torch.float32)
    tile_rows = max(LEAST_ROWS, min(MOST_ROWS, MOST_SCORES // num_keys, rows.shape[1]))
    run = min(num_keys, MOST_SCORES // tile_rows)
    for head, own in enumerate(zip(keys.flatten(0, 1), values.flatten(0, 1), strict=True)):
        for start, stop in even_blocks(rows.shape[1], tile_rows):
            tile = rows[head, start:stop]
            runs = [
                attend_tile(tile[None], *some, scale)
                for some in zip(*(t.split(run) for t in own), strict=True)
            ]
            output[head, start:stop], lse[head, start:stop] = (one[0] for one in merge(runs))
    return output.reshape(*query.shape[:-1], values.shape[-1]), lse.reshape(query.shape[:-1])


def _attend_causal(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float) -> Part:
    """A tile's queries see all keys up to the last of them, but for a triangle."""
    kv_heads, length = keys.shape[1:3]
    rows = query.unflatten(1, (kv_heads, -1)).flatten(0, 1)  # [b * kv, group, q, d]
    output = query.new_empty(*rows.shape[:-1], values.shape[-1])
    lse = torch.empty(rows.shape[:-1], dtype=torch.float32)
    longest = max(1, min(CAUSAL_QUERIES, MOST_SCORES // (rows.shape[1] * length)))
    later = torch.full((longest, longest), float("-inf")).triu(1)
    for head, own in enumerate(zip(keys.flatten(0, 1), values.flatten(0, 1), strict=True)):
        for start, stop in even_blocks(length, longest):
            seen = (tensor[:stop] for tensor in own)
            output[head, :, start:stop], lse[head, :, start:stop] = attend_tile(
                rows[head, :, start:stop], *seen, scale, partial(hide_later, later)
            )
    return output.reshape(*query.shape[:-1], values.shape[-1]), lse.reshape(query.shape[:-1])


def hide_later(later: torch.Tensor, scores: torch.Tensor) -> None:
    """later: added to the scores of the last keys, as many as there are queries; [queries, queries] or more."""
    num_rows = scores.shape[1]
    scores[..., -num_rows:] += later[:num_rows, :num_rows]


def attend_tile(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float, hide: Hide | None = None
) -> Part:
    """queries: [group, queries, head_dim]; keys, values: [keys, dim]. Returns output [group, queries, dim] and
    log-sum-exp [group, queries] in float32."""
    rows = queries.flatten(0, 1).float().mul_(scale)
    scores = torch.ops.mkldnn._linear_pointwise(
        rows, keys.float(), None, "none", [], ""
    )  # [group * queries, keys]
    if hide is not None:
        hide(scores.view(*queries.shape[:2], -1))
    most = scores.amax(dim=-1)
    torch.softmax(scores, dim=-1, out=scores)
    lse = most - scores.amax(dim=-1).log()
    output = scores.to(values.dtype) @ values
    return output.view(*queries.shape[:2], -1), lse.view(queries.shape[:2])


def even_blocks(length: int, most: int) -> Iterator[tuple[int, int]]:
    """Start and stop of blocks of about the same length, each at most so long."""
    size = -(-length // -(-length // most))
    return ((start, min(start + size, length)) for start in range(0, length, size))
