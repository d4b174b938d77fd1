"""Scores of pages in Triton: a program for each KV head and run of blocks, for all queries of the group."""

import torch
import triton
import triton.language as tl

from .naive import PAGE_BLOCKS

PROGRAM_BLOCKS = 64
PART_DIM = 32  # channels summed up at a time: sums of sums lose less than one long one


def page_score(query: torch.Tensor, least: torch.Tensor, most: torch.Tensor) -> torch.Tensor:
    """As naive.page_score."""
    heads, head_dim = query.shape[1], query.shape[-1]
    kv_heads, num_blocks = least.shape[:2]
    group = heads // kv_heads
    scores = torch.empty(
        kv_heads, triton.cdiv(num_blocks, PAGE_BLOCKS), dtype=torch.float32, device=query.device
    )
    strides = [tensor.stride(dim) for tensor in (least, most) for dim in (0, 1)]
    score_kernel[(triton.cdiv(num_blocks, PROGRAM_BLOCKS), kv_heads)](
        query,
        least,
        most,
        scores,
        query.stride(1),
        *strides,
        num_blocks,
        scores.shape[1],
        GROUP=group,
        HEAD_DIM=head_dim,
        WIDTH=PART_DIM,
        ROWS=max(16, triton.next_power_of_2(group)),
        COLUMNS=PROGRAM_BLOCKS,
        PAGE=PAGE_BLOCKS,
    )
    return scores


@triton.jit
def score_kernel(
    p_query,
    p_least,
    p_most,
    p_scores,
    s_query_head,
    s_least_head,
    s_least_block,
    s_most_head,
    s_most_block,
    num_blocks,
    num_pages,
    GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    PAGE: tl.constexpr,
):
    i_run, i_head = tl.program_id(0), tl.program_id(1)
    o_row, o_block = tl.arange(0, ROWS), i_run * COLUMNS + tl.arange(0, COLUMNS)
    m_row, m_block = o_row < GROUP, o_block < num_blocks
    p_query += i_head * GROUP * s_query_head + o_row[:, None] * s_query_head
    p_least += i_head.to(tl.int64) * s_least_head + o_block.to(tl.int64)[:, None] * s_least_block
    p_most += i_head.to(tl.int64) * s_most_head + o_block.to(tl.int64)[:, None] * s_most_block
    b_scores = tl.zeros([ROWS, COLUMNS], tl.float32)
    for first_dim in tl.static_range(0, HEAD_DIM, WIDTH):
        o_dim = first_dim + tl.arange(0, WIDTH)[None, :]
        m_dim = o_dim < HEAD_DIM
        b_query = tl.load(p_query + o_dim, mask=m_row[:, None] & m_dim, other=0.0)
        b_least = tl.load(p_least + o_dim, mask=m_block[:, None] & m_dim, other=0.0)
        b_most = tl.load(p_most + o_dim, mask=m_block[:, None] & m_dim, other=0.0)
        b_zero = tl.zeros_like(b_query)
        b_part = tl.dot(tl.maximum(b_query, b_zero), tl.trans(b_most), input_precision="ieee")
        b_part += tl.dot(tl.minimum(b_query, b_zero), tl.trans(b_least), input_precision="ieee")
        b_scores += b_part
    b_scores = tl.where(m_row[:, None] & m_block[None, :], b_scores, float("-inf"))
    b_pages = tl.max(tl.reshape(tl.max(b_scores, 0), [COLUMNS // PAGE, PAGE]), 1)
    o_page = i_run * (COLUMNS // PAGE) + tl.arange(0, COLUMNS // PAGE)
    tl.store(p_scores + i_head * num_pages + o_page, b_pages, mask=o_page < num_pages)
