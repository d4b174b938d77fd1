"""Decoding over pages in Triton: programs share a KV head's pages, and what each found is joined by log-sum-exp.

A group's queries are the rows of one product. Integers never become keys or values: a page's key scales are multiplied
into the query, its value scales into the weights, and what the least values add is a sum of its own. Integers count
from the middle of their range, so that no digits go to what cancels.
"""

import math

import torch
import triton
import triton.language as tl
from lcdoc.kernels.codes import load_codes
from lcdoc.kernels.online_softmax import log_sum, next_weights
from lcdoc.kernels.pages import Pages

Pair = tuple[torch.Tensor, torch.Tensor]

# Programs to a KV head at most, and pages to a program at least.
MOST_SPLITS, SPLIT_PAGES = 64, 4


def paged_decode(
    query: torch.Tensor,
    keys: Pages,
    values: Pages,
    num_tokens: torch.Tensor,
    *,
    scale: float,
    page_lists: torch.Tensor | None = None,
) -> Pair:
    """As naive.paged_decode. The same launch serves any num_tokens."""
    heads, head_dim = query.shape[1], query.shape[-1]
    kv_heads, num_pages, page_size = keys.codes.shape[1:4]
    group = heads // kv_heads
    most_pages = num_pages if page_lists is None else page_lists.shape[1]
    splits = min(MOST_SPLITS, triton.next_power_of_2(triton.cdiv(max(1, most_pages), SPLIT_PAGES)))
    parts = torch.empty(heads, splits, head_dim, dtype=torch.float32, device=query.device)
    part_lses = torch.empty(heads, splits, dtype=torch.float32, device=query.device)
    lists = num_tokens if page_lists is None else page_lists
    half_width = max(16, triton.next_power_of_2(head_dim // 2))
    decode_kernel[(splits, kv_heads)](
        query,
        keys.codes,
        keys.scales,
        keys.least,
        values.codes,
        values.scales,
        values.least,
        lists,
        num_tokens,
        parts,
        part_lses,
        query.stride(1),
        *(tensor.stride(dim) for tensor in (keys.codes, values.codes) for dim in (1, 2, 3)),
        *(tensor.stride(dim) for tensor in (keys.scales, values.scales) for dim in (1, 2)),
        0 if page_lists is None else page_lists.stride(0),
        scale * math.log2(math.e),
        BITS=keys.bits,
        MIDDLE=2.0 ** (keys.bits - 1),
        LISTED=page_lists is not None,
        GROUP=group,
        HALF=head_dim // 2,
        WIDTH=half_width,
        ROWS=max(16, triton.next_power_of_2(group)),
        COLUMNS=page_size,
        # Without registers spilled, and within 100 KB of shared memory, also for wide heads.
        num_warps=4 if head_dim <= 128 else 8,
        num_stages=3 if head_dim <= 128 else 2,
    )
    output = torch.empty(1, heads, 1, head_dim, dtype=query.dtype, device=query.device)
    lse = torch.empty(1, heads, 1, dtype=torch.float32, device=query.device)
    join_kernel[(heads,)](
        parts, part_lses, output, lse, HEAD_DIM=head_dim, WIDTH=2 * half_width, SPLITS=splits, num_warps=4
    )
    return output, lse


@triton.jit
def decode_kernel(
    p_query,
    p_key_codes,
    p_key_scales,
    p_key_least,
    p_value_codes,
    p_value_scales,
    p_value_least,
    p_lists,
    p_num_tokens,
    p_parts,
    p_part_lses,
    s_query_head,
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
    s_list,
    scale_log2,
    BITS: tl.constexpr,
    MIDDLE: tl.constexpr,
    LISTED: tl.constexpr,
    GROUP: tl.constexpr,
    HALF: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    i_split, i_head = tl.program_id(0), tl.program_id(1).to(tl.int64)
    o_row, o_dim, o_column = tl.arange(0, ROWS), tl.arange(0, WIDTH), tl.arange(0, COLUMNS)
    m_dim = o_dim < HALF
    m_query = (o_row < GROUP)[:, None] & m_dim[None, :]
    p_row = p_query + (i_head * GROUP + o_row)[:, None] * s_query_head + o_dim[None, :]
    b_first_query = tl.load(p_row, mask=m_query, other=0.0)
    b_second_query = tl.load(p_row + HALF, mask=m_query, other=0.0)
    dtype = b_first_query.dtype
    num_tokens = tl.load(p_num_tokens + i_head)
    num_pages = tl.cdiv(num_tokens, COLUMNS)
    pages_each = tl.cdiv(num_pages, tl.num_programs(0))
    start = i_split * pages_each
    b_most = tl.full([ROWS], -1e30, tl.float32)
    b_sum = tl.zeros([ROWS], tl.float32)
    b_first_output = tl.zeros([ROWS, WIDTH], tl.float32)
    b_second_output = tl.zeros([ROWS, WIDTH], tl.float32)
    b_shift = tl.zeros([ROWS], tl.float32)
    for i_listed in range(start, tl.minimum(start + pages_each, num_pages)):
        if LISTED:
            i_page = tl.load(p_lists + i_head * s_list + i_listed).to(tl.int64)
        else:
            i_page = i_listed + tl.zeros([], tl.int64)
        m_token = i_listed * COLUMNS + o_column < num_tokens
        p_keys = p_key_codes + i_head * s_key_head + i_page * s_key_page
        b_first, b_second = load_codes(p_keys, s_key_row, m_token, o_dim, BITS, HALF, COLUMNS)
        b_first_asked, b_second_asked = b_first_query, b_second_query
        if BITS != 16:
            o_scale = i_head * s_key_scales_head + i_page * s_key_scales_page + o_dim
            b_first_scale = tl.load(p_key_scales + o_scale, mask=m_dim, other=0.0).to(tl.float32)
            b_second_scale = tl.load(p_key_scales + o_scale + HALF, mask=m_dim, other=0.0).to(tl.float32)
            b_first_middle = tl.load(p_key_least + o_scale, mask=m_dim, other=0.0).to(tl.float32)
            b_second_middle = tl.load(p_key_least + o_scale + HALF, mask=m_dim, other=0.0).to(tl.float32)
            b_first_middle += b_first_scale * MIDDLE
            b_second_middle += b_second_scale * MIDDLE
            b_constant = tl.sum(b_first_query.to(tl.float32) * b_first_middle[None, :], 1)
            b_constant += tl.sum(b_second_query.to(tl.float32) * b_second_middle[None, :], 1)
            b_first_asked = (b_first_query.to(tl.float32) * b_first_scale[None, :]).to(dtype)
            b_second_asked = (b_second_query.to(tl.float32) * b_second_scale[None, :]).to(dtype)
            b_first = b_first.to(tl.float32) - MIDDLE
            b_second = b_second.to(tl.float32) - MIDDLE
        b_scores = tl.dot(b_first_asked, tl.trans(b_first.to(dtype)), input_precision="ieee")
        b_scores += tl.dot(b_second_asked, tl.trans(b_second.to(dtype)), input_precision="ieee")
        if BITS != 16:
            b_scores += b_constant[:, None]
        b_weights, b_shrink, b_most, b_sum = next_weights(
            b_scores * scale_log2, m_token[None, :], b_most, b_sum
        )
        p_values = p_value_codes + i_head * s_value_head + i_page * s_value_page
        b_first, b_second = load_codes(p_values, s_value_row, m_token, o_dim, BITS, HALF, COLUMNS)
        if BITS == 16:
            b_first_more = tl.dot(b_weights.to(dtype), b_first.to(dtype), input_precision="ieee")
            b_second_more = tl.dot(b_weights.to(dtype), b_second.to(dtype), input_precision="ieee")
        else:
            o_scale = i_head * s_value_scales_head + i_page * s_value_scales_page + o_column
            b_scale = tl.load(p_value_scales + o_scale, mask=m_token, other=0.0).to(tl.float32)
            b_middle = tl.load(p_value_least + o_scale, mask=m_token, other=0.0).to(tl.float32)
            b_middle += b_scale * MIDDLE
            # Relative to the page's largest scale: weights stay where 16 bits have most digits.
            most_scale = tl.maximum(tl.max(b_scale, 0), 1e-30)
            b_scaled = (b_weights * (b_scale / most_scale)[None, :]).to(dtype)
            b_first = (b_first.to(tl.float32) - MIDDLE).to(dtype)
            b_second = (b_second.to(tl.float32) - MIDDLE).to(dtype)
            b_first_more = tl.dot(b_scaled, b_first, input_precision="ieee") * most_scale
            b_second_more = tl.dot(b_scaled, b_second, input_precision="ieee") * most_scale
            b_shift = b_shift * b_shrink + tl.sum(b_weights * b_middle[None, :], 1)
        b_first_output = b_first_output * b_shrink[:, None] + b_first_more
        b_second_output = b_second_output * b_shrink[:, None] + b_second_more
    b_total = tl.where(b_sum > 0, b_sum, 1.0)[:, None]
    i_part = (i_head * GROUP + o_row) * tl.num_programs(0) + i_split
    p_part = p_parts + i_part[:, None] * (2 * HALF) + o_dim[None, :]
    tl.store(p_part, (b_first_output + b_shift[:, None]) / b_total, mask=m_query)
    tl.store(p_part + HALF, (b_second_output + b_shift[:, None]) / b_total, mask=m_query)
    tl.store(p_part_lses + i_part, log_sum(b_most, b_sum), mask=o_row < GROUP)


@triton.jit
def join_kernel(
    p_parts,
    p_part_lses,
    p_output,
    p_lse,
    HEAD_DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    SPLITS: tl.constexpr,
):
    i_head = tl.program_id(0)
    o_split, o_dim = tl.arange(0, SPLITS), tl.arange(0, WIDTH)
    m_dim = o_dim < HEAD_DIM
    b_lses = tl.load(p_part_lses + i_head * SPLITS + o_split)
    most = tl.maximum(tl.max(b_lses, 0), -1e30)  # -inf for a head that saw nothing
    b_weights = tl.exp(b_lses - most)
    total = tl.sum(b_weights, 0)
    p_part = p_parts + (i_head * SPLITS + o_split)[:, None] * HEAD_DIM + o_dim[None, :]
    b_parts = tl.load(p_part, mask=m_dim[None, :], other=0.0)
    b_output = tl.sum(b_parts * b_weights[:, None], 0) / tl.where(total > 0, total, 1.0)
    tl.store(p_output + i_head * HEAD_DIM + o_dim, b_output.to(p_output.dtype.element_ty), mask=m_dim)
    tl.store(p_lse + i_head, most + tl.log(total))
