"""Attention over chosen pages in Triton: a program for each head and block of queries walks its list."""

import math

import torch
import triton
import triton.language as tl
from lcdoc.kernels.codes import load_keys, load_values
from lcdoc.kernels.online_softmax import log_sum, next_weights
from lcdoc.kernels.pages import Pages


def attend_blocks(
    query: torch.Tensor, keys: Pages, values: Pages, keep: torch.Tensor, *, query_block: int, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """As naive.attend_blocks, without softcap. query_block, and a page's tokens: powers of 2, 16 or more."""
    _, heads, num_queries, head_dim = query.shape
    counts = keep.sum(-1, dtype=torch.int32)  # [heads, query_blocks]
    # Each row's kept pages first, in order; the others behind them are never read.
    lists = keep.to(torch.uint8).argsort(dim=-1, descending=True, stable=True).to(torch.int32)
    output = torch.empty_like(query, memory_format=torch.contiguous_format)
    lse = torch.empty(query.shape[:3], dtype=torch.float32, device=query.device)
    attend_kernel[(keep.shape[1], heads)](
        query,
        keys.codes,
        keys.scales,
        keys.least,
        values.codes,
        values.scales,
        values.least,
        lists,
        counts,
        output,
        lse,
        *(tensor.stride(dim) for tensor in (query, output) for dim in (1, 2)),
        *(tensor.stride(dim) for tensor in (keys.codes, values.codes) for dim in (1, 2, 3)),
        *(tensor.stride(dim) for tensor in (keys.scales, values.scales) for dim in (1, 2)),
        num_queries,
        keep.shape[2],
        scale * math.log2(math.e),
        BITS=keys.bits,
        GROUP=heads // keys.codes.shape[1],
        HALF=head_dim // 2,
        WIDTH=max(16, triton.next_power_of_2(head_dim // 2)),
        ROWS=query_block,
        COLUMNS=keys.page_size,
        num_warps=8 if head_dim > 64 else 4,
    )
    return output, lse


@triton.jit
def attend_kernel(
    p_query,
    p_key_codes,
    p_key_scales,
    p_key_least,
    p_value_codes,
    p_value_scales,
    p_value_least,
    p_lists,
    p_counts,
    p_output,
    p_lse,
    s_query_head,
    s_query_row,
    s_output_head,
    s_output_row,
    s_key_head,
    s_key_page,
    s_key_row,
    s_value_head,
    s_value_page,
    s_value_row,
    s_key_scales_head,
    s_key_scales_page,
    s_value_scales_head,
    s_value_scales_page,
    num_queries,
    num_pages,
    scale_log2,
    BITS: tl.constexpr,
    GROUP: tl.constexpr,
    HALF: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    i_block, i_head = tl.program_id(0), tl.program_id(1).to(tl.int64)
    i_kv_head = i_head // GROUP
    o_row, o_dim = i_block * ROWS + tl.arange(0, ROWS), tl.arange(0, WIDTH)
    m_row, m_seen = o_row < num_queries, tl.full([1, COLUMNS], 1, tl.int1)
    m_query = m_row[:, None] & (o_dim < HALF)[None, :]
    p_row = p_query + i_head * s_query_head + o_row[:, None] * s_query_row + o_dim[None, :]
    b_first_query = tl.load(p_row, mask=m_query, other=0.0)
    b_second_query = tl.load(p_row + HALF, mask=m_query, other=0.0)
    dtype = b_first_query.dtype
    i_list = i_head * tl.num_programs(0) + i_block
    p_lists += i_list * num_pages
    p_key_codes += i_kv_head * s_key_head
    p_value_codes += i_kv_head * s_value_head
    b_most = tl.full([ROWS], -1e30, tl.float32)
    b_sum = tl.zeros([ROWS], tl.float32)
    b_first_output = tl.zeros([ROWS, WIDTH], tl.float32)
    b_second_output = tl.zeros([ROWS, WIDTH], tl.float32)
    for i_kept in range(0, tl.load(p_counts + i_list)):
        i_page = tl.load(p_lists + i_kept).to(tl.int64)
        p_page = p_key_codes + i_page * s_key_page
        o_scales = i_kv_head * s_key_scales_head + i_page * s_key_scales_page
        b_first, b_second = load_keys(
            p_page, p_key_scales + o_scales, p_key_least + o_scales, s_key_row, o_dim, BITS, HALF, COLUMNS
        )
        b_scores = tl.dot(b_first_query, tl.trans(b_first.to(dtype)), input_precision="ieee")
        b_scores += tl.dot(b_second_query, tl.trans(b_second.to(dtype)), input_precision="ieee")
        b_weights, b_shrink, b_most, b_sum = next_weights(b_scores * scale_log2, m_seen, b_most, b_sum)
        p_page = p_value_codes + i_page * s_value_page
        o_scales = i_kv_head * s_value_scales_head + i_page * s_value_scales_page
        b_first, b_second = load_values(
            p_page,
            p_value_scales + o_scales,
            p_value_least + o_scales,
            s_value_row,
            o_dim,
            BITS,
            HALF,
            COLUMNS,
        )
        b_weights = b_weights.to(dtype)
        b_first_output *= b_shrink[:, None]
        b_first_output += tl.dot(b_weights, b_first.to(dtype), input_precision="ieee")
        b_second_output *= b_shrink[:, None]
        b_second_output += tl.dot(b_weights, b_second.to(dtype), input_precision="ieee")
    b_total = tl.where(b_sum > 0, b_sum, 1.0)[:, None]
    p_row = p_output + i_head * s_output_head + o_row[:, None] * s_output_row + o_dim[None, :]
    tl.store(p_row, (b_first_output / b_total).to(p_output.dtype.element_ty), mask=m_query)
    tl.store(p_row + HALF, (b_second_output / b_total).to(p_output.dtype.element_ty), mask=m_query)
    tl.store(p_lse + i_head * num_queries + o_row, log_sum(b_most, b_sum), mask=m_row)
