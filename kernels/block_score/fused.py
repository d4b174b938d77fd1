"""Block scores in Triton: a program for each head and block of queries, twice over the keys."""

import torch
import triton
import triton.language as tl

from .naive import sampled_rows


def block_score(
    query: torch.Tensor, keys: torch.Tensor, *, scale: float, query_block: int, key_block: int, stride: int
) -> torch.Tensor:
    """As naive.block_score. key_block: a power of 2, 16 or more."""
    _, heads, num_queries, head_dim = query.shape
    num_keys = keys.shape[2]
    rows = sampled_rows(num_queries, query_block, stride, query.device)
    sampled = query[0].index_select(1, rows.flatten())  # [heads, blocks * rows, d]
    shares = torch.empty(
        heads, len(rows), triton.cdiv(num_keys, key_block), dtype=torch.float32, device=query.device
    )
    score_kernel[(len(rows), heads)](
        sampled,
        keys,
        shares,
        sampled.stride(0),
        sampled.stride(1),
        keys.stride(1),
        keys.stride(2),
        num_keys,
        scale,
        GROUP=heads // keys.shape[1],
        HEAD_DIM=head_dim,
        WIDTH=triton.next_power_of_2(head_dim),
        SAMPLES=rows.shape[1],
        ROWS=max(16, triton.next_power_of_2(rows.shape[1])),
        COLUMNS=key_block,
    )
    return shares


@triton.jit
def score_kernel(
    p_query,
    p_keys,
    p_shares,
    s_query_head,
    s_query_row,
    s_keys_head,
    s_keys_row,
    num_keys,
    scale,
    GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    SAMPLES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    i_block, i_head = tl.program_id(0), tl.program_id(1)
    o_row, o_dim, o_column = tl.arange(0, ROWS), tl.arange(0, WIDTH), tl.arange(0, COLUMNS)
    m_row, m_dim = o_row < SAMPLES, o_dim < HEAD_DIM
    num_blocks = tl.cdiv(num_keys, COLUMNS)
    p_query += i_head.to(tl.int64) * s_query_head + i_block * SAMPLES * s_query_row
    p_keys += (i_head // GROUP).to(tl.int64) * s_keys_head
    p_shares += (i_head * tl.num_programs(0) + i_block).to(tl.int64) * num_blocks
    b_query = tl.load(
        p_query + o_row[:, None] * s_query_row + o_dim[None, :],
        mask=m_row[:, None] & m_dim[None, :],
        other=0.0,
    )
    b_most = tl.full([ROWS], float("-inf"), tl.float32)
    b_sum = tl.zeros([ROWS], tl.float32)
    for i_key_block in range(0, num_blocks):
        o_key = i_key_block * COLUMNS + o_column
        m_key = o_key < num_keys
        p_block = p_keys + o_key.to(tl.int64)[:, None] * s_keys_row + o_dim[None, :]
        b_keys = tl.load(p_block, mask=m_key[:, None] & m_dim[None, :], other=0.0)
        b_scores = tl.dot(b_query, tl.trans(b_keys), input_precision="ieee") * scale
        b_scores = tl.where(m_key[None, :], b_scores, float("-inf"))
        b_more = tl.maximum(b_most, tl.max(b_scores, 1))
        b_sum = b_sum * tl.exp(b_most - b_more) + tl.sum(tl.exp(b_scores - b_more[:, None]), 1)
        b_most = b_more
    for i_key_block in range(0, num_blocks):
        o_key = i_key_block * COLUMNS + o_column
        m_key = o_key < num_keys
        p_block = p_keys + o_key.to(tl.int64)[:, None] * s_keys_row + o_dim[None, :]
        b_keys = tl.load(p_block, mask=m_key[:, None] & m_dim[None, :], other=0.0)
        b_scores = tl.dot(b_query, tl.trans(b_keys), input_precision="ieee") * scale
        b_scores = tl.where(m_key[None, :], b_scores, float("-inf"))
        b_weights = tl.exp(b_scores - b_most[:, None]) / b_sum[:, None]
        b_weights = tl.where(m_row[:, None], b_weights, 0.0)
        tl.store(p_shares + i_key_block, tl.sum(b_weights) / SAMPLES)
