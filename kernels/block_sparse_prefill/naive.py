"""Attention over chosen pages in PyTorch: each row's pages gathered, and attended without a mask."""

from collections.abc import Iterator

import torch
from lcdoc.kernels.attend import attend, merge
from lcdoc.kernels.pages import Pages

# Of one KV head's pages so many are looked at, and those of them that any row chose dequantised, at a time.
RUN_PAGES = 64


def attend_blocks(
    query: torch.Tensor,
    keys: Pages,
    values: Pages,
    keep: torch.Tensor,
    *,
    query_block: int,
    scale: float,
    softcap: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax attention of each block of queries over the pages that it keeps, all of which it sees whole.

    query: [1, heads, num_queries, head_dim], with heads a multiple of kv_heads; the last block may be short. keys,
    values: of a head_dim each. keep: bool [heads, query_blocks, pages]. Returns output [1, heads, num_queries,
    value_dim] and log-sum-exp [1, heads, num_queries] in float32; 0 and -inf where a block keeps no page.
    """
    group = query.shape[1] // keys.codes.shape[1]
    shape = *query.shape[:3], values.head_dim
    held_as_is = keys.holds(query.dtype) and values.holds(query.dtype)
    output = torch.zeros(shape, dtype=torch.float32, device=query.device)
    lse = torch.full(shape[:3], float("-inf"), device=query.device)
    for kv_head, own in enumerate(keep.cpu().split(group)):
        seen = torch.zeros(own.shape[:2], dtype=torch.bool)
        for held_keys, held_values, kept in _runs(keys, values, kv_head, own, query.dtype):
            for at, row in kept.any(-1).nonzero().tolist():
                span = (
                    slice(kv_head * group + at, kv_head * group + at + 1),
                    slice(row * query_block, (row + 1) * query_block),
                )
                pair = (_gathered(held, kept[at, row]) for held in (held_keys, held_values))
                # Rows that see whole runs of pages see one of few numbers of them; of pieces each its own.
                part = attend(query[:, *span], *pair, scale=scale, softcap=softcap, recurs=held_as_is)
                if seen[at, row]:
                    part = merge([(output[:, *span], lse[:, *span]), part])
                output[:, *span], lse[:, *span] = part
            seen |= kept.any(-1)
    return output.to(query.dtype), lse


def _runs(
    keys: Pages, values: Pages, kv_head: int, keep: torch.Tensor, dtype: torch.dtype
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Keys and values of some pages of one KV head, [pages, page_size, head_dim] each, and which of these each row
    keeps, [group, query_blocks, pages]. keep: the same of all pages."""
    if keys.holds(dtype) and values.holds(dtype):
        yield keys.codes[0, kv_head], values.codes[0, kv_head], keep
        return
    for first in range(0, keep.shape[2], RUN_PAGES):
        run = keep[:, :, first : first + RUN_PAGES]
        used = run.flatten(0, 1).any(0).nonzero()[:, 0]
        if len(used):
            chosen = (first + used).to(keys.codes.device)
            held_keys, held_values = (
                pages.chosen(kv_head, chosen).numbers(dtype)[0, 0] for pages in (keys, values)
            )
            yield held_keys, held_values, run[:, :, used]


def _gathered(held: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """The kept pages behind each other, [1, 1, tokens, head_dim]."""
    if not bool(kept.all()):
        held = held.index_select(0, kept.nonzero()[:, 0].to(held.device))
    return held.flatten(0, 1)[None, None]
