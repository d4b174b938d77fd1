"""Sinks and a moving window in Triton: a program for each head and block of queries, which skips all keys between."""

import math

import torch
import triton
import triton.language as tl
from lcdoc.kernels.online_softmax import log_sum, next_weights

Pair = tuple[torch.Tensor, torch.Tensor]
ROWS, COLUMNS = 64, 64


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
    """As naive.attend_sink_window."""
    _, heads, num_queries, head_dim = query.shape
    output = torch.empty_like(query, memory_format=torch.contiguous_format)
    lse = torch.empty(query.shape[:3], dtype=torch.float32, device=query.device)
    strides = [tensor.stride(dim) for tensor in (query, *sinks, *run, output) for dim in (1, 2)]
    attend_kernel[(triton.cdiv(num_queries, ROWS), heads)](
        query,
        *sinks,
        *run,
        output,
        lse,
        *strides,
        num_queries,
        sinks[0].shape[2],
        run[0].shape[2],
        first_query,
        first_key,
        window,
        scale * math.log2(math.e),
        GROUP=heads // run[0].shape[1],
        HEAD_DIM=head_dim,
        WIDTH=triton.next_power_of_2(head_dim),
        ROWS=ROWS,
        COLUMNS=COLUMNS,
        num_warps=8 if head_dim > 64 else 4,
    )
    return output, lse


@triton.jit
def attend_kernel(
    p_query,
    p_sink_keys,
    p_sink_values,
    p_keys,
    p_values,
    p_output,
    p_lse,
    s_query_head,
    s_query_row,
    s_sink_keys_head,
    s_sink_keys_row,
    s_sink_values_head,
    s_sink_values_row,
    s_keys_head,
    s_keys_row,
    s_values_head,
    s_values_row,
    s_output_head,
    s_output_row,
    num_queries,
    num_sinks,
    num_keys,
    first_query,
    first_key,
    window,
    scale_log2,
    GROUP: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    i_block, i_head = tl.program_id(0), tl.program_id(1)
    i_kv_head = (i_head // GROUP).to(tl.int64)
    o_row, o_dim, o_column = i_block * ROWS + tl.arange(0, ROWS), tl.arange(0, WIDTH), tl.arange(0, COLUMNS)
    m_row, m_dim = o_row < num_queries, o_dim < HEAD_DIM
    m_query = m_row[:, None] & m_dim[None, :]
    o_at = first_query + o_row  # positions
    p_query += i_head.to(tl.int64) * s_query_head
    b_query = tl.load(p_query + o_row[:, None] * s_query_row + o_dim[None, :], mask=m_query, other=0.0)
    b_most = tl.full([ROWS], -1e30, tl.float32)
    b_sum = tl.zeros([ROWS], tl.float32)
    b_output = tl.zeros([ROWS, WIDTH], tl.float32)
    p_sink_keys += i_kv_head * s_sink_keys_head
    p_sink_values += i_kv_head * s_sink_values_head
    for i_first in range(0, num_sinks, COLUMNS):
        o_key = i_first + o_column
        m_seen = (o_key[None, :] <= o_at[:, None]) & (o_key < num_sinks)[None, :]
        m_block = (o_key < num_sinks)[:, None] & m_dim[None, :]
        b_keys = tl.load(
            p_sink_keys + o_key[:, None] * s_sink_keys_row + o_dim[None, :], mask=m_block, other=0.0
        )
        b_values = tl.load(
            p_sink_values + o_key[:, None] * s_sink_values_row + o_dim[None, :], mask=m_block, other=0.0
        )
        b_scores = tl.dot(b_query, tl.trans(b_keys), input_precision="ieee") * scale_log2
        b_weights, b_shrink, b_most, b_sum = next_weights(b_scores, m_seen, b_most, b_sum)
        b_output = b_output * b_shrink[:, None]
        b_output += tl.dot(b_weights.to(b_values.dtype), b_values, input_precision="ieee")
    p_keys += i_kv_head * s_keys_head
    p_values += i_kv_head * s_values_head
    first_at = first_query + i_block * ROWS
    start = tl.maximum(tl.maximum(first_at - window + 1, num_sinks) - first_key, 0)
    stop = tl.minimum(first_at + ROWS - first_key, num_keys)
    for i_first in range(start, stop, COLUMNS):
        o_key = i_first + o_column
        o_position = first_key + o_key
        m_seen = (o_position[None, :] <= o_at[:, None]) & (o_position[None, :] > o_at[:, None] - window)
        m_seen = m_seen & ((o_position >= num_sinks) & (o_key < num_keys))[None, :]
        m_block = (o_key < num_keys)[:, None] & m_dim[None, :]
        b_keys = tl.load(p_keys + o_key[:, None] * s_keys_row + o_dim[None, :], mask=m_block, other=0.0)
        b_values = tl.load(p_values + o_key[:, None] * s_values_row + o_dim[None, :], mask=m_block, other=0.0)
        b_scores = tl.dot(b_query, tl.trans(b_keys), input_precision="ieee") * scale_log2
        b_weights, b_shrink, b_most, b_sum = next_weights(b_scores, m_seen, b_most, b_sum)
        b_output = b_output * b_shrink[:, None]
        b_output += tl.dot(b_weights.to(b_values.dtype), b_values, input_precision="ieee")
    p_output += i_head.to(tl.int64) * s_output_head
    b_output = (b_output / b_sum[:, None]).to(p_output.dtype.element_ty)
    tl.store(p_output + o_row[:, None] * s_output_row + o_dim[None, :], b_output, mask=m_query)
    tl.store(p_lse + i_head * num_queries + o_row, log_sum(b_most, b_sum), mask=m_row)
