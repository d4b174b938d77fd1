"""The same part of attention for many queries in bfloat16 on a CPU: scores of a tile of queries and keys as one product
each, exact to 16 bits as in products, then one softmax over all of them.

PyTorch's flash kernel multiplies 32 to 256 queries by 512 keys at a time. Over tiles this large products run at twice
its rate and more, and what they leave to do, one pass after the other, stays in the cache.
"""

from collections.abc import Callable, Iterator

import torch

from . import products
from .merging import merge

Part = tuple[torch.Tensor, torch.Tensor]

# Scores made at a time, and what each takes meanwhile: two halves in bfloat16, their sum in float32.
MOST_SCORES, SCORE_BYTES = 1 << 20, 8
# Rows of a tile, queries times heads of a group: fewer than the least cost as much, more than the most save nothing.
LEAST_ROWS, MOST_ROWS = 128, 512
# Tiles with fewer scores are no quicker than the flash kernel (torch 2.13, two cores): 128 queries of 1,536 keys take
# 0.74 of its time, 256 of 2,048 take 0.66, 512 of 1,024 take 0.67.
LEAST_SCORES, LEAST_KEYS = 192 << 10, 512

# What lies outside a query's sight in a tile: takes scores [group, queries, keys] and overwrites those.
Hide = Callable[[torch.Tensor], None]


def supports(query: torch.Tensor, keys: torch.Tensor, softcap: float | None) -> bool:
    """Whether this part is computed here, without a mask, and sooner than by the flash kernel."""
    num_rows, num_keys = query.shape[1] // keys.shape[1] * query.shape[2], keys.shape[2]
    enough = num_rows >= LEAST_ROWS and num_keys >= LEAST_KEYS
    return (
        products.multiplies(query, softcap) and enough and min(num_rows, MOST_ROWS) * num_keys >= LEAST_SCORES
    )


def attend(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, *, scale: float) -> Part:
    """As naive.attend, without mask and softcap. Queries of one group share their keys; nothing is repeated."""
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


def attend_tile(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float, hide: Hide | None = None
) -> Part:
    """queries: [group, queries, head_dim]; keys, values: [keys, dim]. Returns output [group, queries, dim] and
    log-sum-exp [group, queries] in float32."""
    rows, across = queries.flatten(0, 1), keys.t()
    coarse = torch.addmm(queries.new_empty(()), rows, across, beta=0, alpha=scale)
    fine = torch.addmm(coarse, rows, across, beta=-1, alpha=scale)
    scores = coarse.float().add_(fine)  # [group * queries, keys]
    if hide is not None:
        hide(scores.view(*queries.shape[:2], -1))
    most = scores.amax(dim=-1)
    torch.softmax(scores, dim=-1, out=scores)
    lse = most - scores.amax(dim=-1).log()
    output = coarse.copy_(scores) @ values
    return output.view(*queries.shape[:2], -1), lse.view(queries.shape[:2])


def even_blocks(length: int, most: int) -> Iterator[tuple[int, int]]:
    """Start and stop of blocks of about the same length, each at most so long."""
    size = -(-length // -(-length // most))
    return ((start, min(start + size, length)) for start in range(0, length, size))
