"""Attention over chosen blocks of keys in Triton: a program for each head and block of queries walks its list."""

import math

import torch
import triton
import triton.language as tl
from lcdoc.kernels.online_softmax import log_sum, next_weights


def attend_blocks(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    keep: torch.Tensor,
    *,
    query_block: int,
    key_block: int,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """As naive.attend_blocks, without softcap. query_block, key_block: powers of 2, 16 or more."""
    _, heads, num_queries, head_dim = query.shape
    counts = keep.sum(-1, dtype=torch.int32)  # [heads, query_blocks]
    # Each row's kept blocks first, in order; the others behind them are never read.
    lists = keep.to(torch.uint8).argsort(dim=-1, descending=True, stable=True).to(torch.int32)
    output = torch.empty_like(query, memory_format=torch.contiguous_format)
    lse = torch.empty(query.shape[:3], dtype=torch.float32, device=query.device)
    strides = [tensor.stride(dim) for tensor in (query, keys, values, output) for dim in (1, 2)]
    attend_kernel[(keep.shape[1], heads)](
        query,
        keys,
        values,
        lists,
        counts,
        output,
        lse,
        *strides,
        num_queries,
        keys.shape[2],
        keep.shape[2],
        scale * math.log2(math.e),
        GROUP=heads // keys.shape[1],
        HEAD_DIM=head_dim,
        WIDTH=triton.next_power_of_2(head_dim),
        ROWS=query_block,
        COLUMNS=key_block,
        num_warps=8 if head_dim > 64 else 4,
    )
    return output, lse


@triton.jit
def attend_kernel(
    p_query,
    p_keys,
    p_values,
    p_lists,
    p_counts,
    p_output,
    p_lse,
    s_query_head,
    s_query_row,
    s_keys_head,
    s_keys_row,
    s_values_head,
    s_values_row,
    s_output_head,
    s_output_row,
    num_queries,
    num_keys,
    num_blocks,
    scale_log2,
    GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    i_block, i_head = tl.program_id(0), tl.program_id(1)
    i_kv_head = i_head // GROUP
    o_row, o_dim = i_block * ROWS + tl.arange(0, ROWS), tl.arange(0, WIDTH)
    m_row, m_dim = o_row < num_queries, o_dim < HEAD_DIM
    m_query = m_row[:, None] & m_dim[None, :]
    p_query += i_head.to(tl.int64) * s_query_head
    p_keys += i_kv_head.to(tl.int64) * s_keys_head
    p_values += i_kv_head.to(tl.int64) * s_values_head
    i_list = i_head * tl.num_programs(0) + i_block
    p_lists += i_list.to(tl.int64) * num_blocks
    b_query = tl.load(p_query + o_row[:, None] * s_query_row + o_dim[None, :], mask=m_query, other=0.0)
    b_most = tl.full([ROWS], -1e30, tl.float32)
    b_sum = tl.zeros([ROWS], tl.float32)
    b_output = tl.zeros([ROWS, WIDTH], tl.float32)
    for i_kept in range(0, tl.load(p_counts + i_list)):
        o_key = tl.load(p_lists + i_kept).to(tl.int64) * COLUMNS + tl.arange(0, COLUMNS)
        m_key = o_key < num_keys
        m_block = m_key[:, None] & m_dim[None, :]
        b_keys = tl.load(p_keys + o_key[:, None] * s_keys_row + o_dim[None, :], mask=m_block, other=0.0)
        b_scores = tl.dot(b_query, tl.trans(b_keys), input_precision="ieee") * scale_log2
        b_weights, b_shrink, b_most, b_sum = next_weights(b_scores, m_key[None, :], b_most, b_sum)
        b_values = tl.load(p_values + o_key[:, None] * s_values_row + o_dim[None, :], mask=m_block, other=0.0)
        b_output = b_output * b_shrink[:, None]
        b_output += tl.dot(b_weights.to(b_values.dtype), b_values, input_precision="ieee")
    p_output += i_head.to(tl.int64) * s_output_head
    b_output = (b_output / b_sum[:, None]).to(p_output.dtype.element_ty)
    tl.store(p_output + o_row[:, None] * s_output_row + o_dim[None, :], b_output, mask=m_query)
    tl.store(p_lse + i_head * num_queries + o_row, log_sum(b_most, b_sum), mask=m_row)
