"""Moving kept tokens to the front in Triton, in place.

A program has some channels of a head to itself and walks its tokens in order. What it reads stands at or behind where
it writes, since rows rise: all of a block is read before any of it is written, and no later block reads what it wrote.
"""

import torch
import triton
import triton.language as tl

ROWS, COLUMNS = 64, 16


def compact(tokens: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """As naive.compact, without a copy. tokens: the last two dimensions may have any strides."""
    num_kept, head_dim = kept.shape[1], tokens.shape[-1]
    if num_kept:
        compact_kernel[(triton.cdiv(head_dim, COLUMNS), tokens.shape[1])](
            tokens,
            kept,
            *(tokens.stride(dim) for dim in (1, 2, 3)),
            kept.stride(0),
            num_kept,
            head_dim,
            ROWS=ROWS,
            COLUMNS=COLUMNS,
            num_warps=4,
        )
    return tokens[:, :, :num_kept]


@triton.jit
def compact_kernel(
    p_tokens,
    p_kept,
    s_head,
    s_row,
    s_dim,
    s_kept,
    num_kept,
    head_dim,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    i_head = tl.program_id(1).to(tl.int64)
    o_dim = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    p_column = p_tokens + i_head * s_head + o_dim[None, :] * s_dim
    for i_first in range(0, num_kept, ROWS):
        o_row = i_first + tl.arange(0, ROWS)
        m_row = o_row < num_kept
        m_block = m_row[:, None] & (o_dim < head_dim)[None, :]
        o_from = tl.load(p_kept + i_head * s_kept + o_row, mask=m_row, other=0).to(tl.int64)
        b_tokens = tl.load(p_column + o_from[:, None] * s_row, mask=m_block, other=0.0)
        tl.debug_barrier()  # all threads have read the block, and with it all blocks before
        tl.store(p_column + o_row.to(tl.int64)[:, None] * s_row, b_tokens, mask=m_block)
