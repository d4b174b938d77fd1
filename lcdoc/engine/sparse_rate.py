"""From how much past on, and up to which density, block-sparse reading is quicker on a device."""

from collections.abc import Callable

import torch

from lcdoc.engine.attention import attend_past
from lcdoc.engine.buffers import FullBuffer
from lcdoc.engine.page_layout import num_pages
from lcdoc.engine.paged_buffer import PagedBuffer
from lcdoc.engine.sparse_prefill import (
    QUERY_BLOCK_TOKENS,
    SparsePrefill,
    SparseRate,
    attend_chosen,
    near_of,
)
from lcdoc.engine.stopwatch import measure_s

# Tried one after the other, the longest first; where that doesn't pay, nothing is read sparsely that any machine could
# hold.
PAST_TOKENS = (4096, 1024)
NEVER_TOKENS = 1 << 40
TRIED_DENSITY = 0.25

Filled = FullBuffer | PagedBuffer


def measure_sparse(
    device: torch.device, query: torch.Tensor, make_buffer: Callable[[int], Filled], scale: float
) -> SparseRate:
    """query: a chunk's, [1, heads, length, head_dim]. make_buffer: makes a buffer that holds so many tokens, stored as
    the rate is for."""
    from_tokens, densities = NEVER_TOKENS, []
    for num_past in PAST_TOKENS:
        densities.append(_most_density(device, query, make_buffer(num_past), scale))
        if densities[-1] < TRIED_DENSITY:
            break
        from_tokens = num_past
    return SparseRate(from_tokens, min(1.0, max(densities[0], TRIED_DENSITY)))


def _most_density(device: torch.device, query: torch.Tensor, buffer: Filled, scale: float) -> float:
    """Where choosing and attending take as long as dense attention, if attending costs in proportion."""
    chooser, pages = SparsePrefill({}), num_pages(buffer.seen_tokens)
    blocks = query.shape[1], -(-query.shape[2] // QUERY_BLOCK_TOKENS)
    keep = torch.rand(*blocks, pages, device=device).argsort(-1) < TRIED_DENSITY * pages

    def choose() -> None:
        chooser.choose(query, near_of(buffer)[0], buffer.stored()[0], scale)

    def attend_some() -> None:
        attend_chosen(query, near_of(buffer), buffer.stored(), keep, scale)

    dense_s = measure_s(device, lambda: attend_past(query, buffer, scale, None))
    choose_s = measure_s(device, choose)
    sparse_s = measure_s(device, attend_some)
    return TRIED_DENSITY * (dense_s - choose_s) / sparse_s
