"""Quantising into pages in Triton: a program for each page of each head, which reads its tokens once."""

import torch
import triton
import triton.language as tl
from lcdoc.kernels.pages import Pages

from .rounding import codes_of, stored_range

Bounds = tuple[torch.Tensor, torch.Tensor]


def append_quantize(tokens: torch.Tensor, pages: Pages, bounds: Bounds | None = None) -> None:
    """As naive.append_quantize, for pages of 8 or 4 bits."""
    kv_heads, num_pages, page_size = pages.codes.shape[1:4]
    if num_pages == 0:
        return
    head_dim = tokens.shape[-1]
    per_channel = pages.least.shape[3] == 1
    least_bounds, most_bounds = bounds or (tokens, tokens)
    quantize_kernel[(num_pages, kv_heads)](
        tokens,
        pages.codes,
        pages.scales,
        pages.least,
        least_bounds,
        most_bounds,
        tokens.stride(1),
        tokens.stride(2),
        *(pages.codes.stride(dim) for dim in (1, 2, 3)),
        *(pages.scales.stride(dim) for dim in (1, 2)),
        least_bounds.stride(1),
        BITS=pages.bits,
        MOST=float(2**pages.bits - 1),
        PER_CHANNEL=per_channel,
        BOUNDED=bounds is not None,
        RUNS=1 if bounds is None else least_bounds.shape[3],
        HALF=head_dim // 2,
        WIDTH=triton.next_power_of_2(head_dim // 2),
        ROWS=page_size,
        num_warps=4 if head_dim <= 128 else 8,
    )


@triton.jit
def quantize_kernel(
    p_tokens,
    p_codes,
    p_scales,
    p_least,
    p_least_bounds,
    p_most_bounds,
    s_tokens_head,
    s_tokens_row,
    s_codes_head,
    s_codes_page,
    s_codes_row,
    s_scales_head,
    s_scales_page,
    s_bounds_head,
    BITS: tl.constexpr,
    MOST: tl.constexpr,
    PER_CHANNEL: tl.constexpr,
    BOUNDED: tl.constexpr,
    RUNS: tl.constexpr,
    HALF: tl.constexpr,
    WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
):
    i_page, i_head = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    o_row, o_dim = tl.arange(0, ROWS), tl.arange(0, WIDTH)
    m_dim = o_dim < HALF
    p_row = (
        p_tokens + i_head * s_tokens_head + (i_page * ROWS + o_row)[:, None] * s_tokens_row + o_dim[None, :]
    )
    b_first = tl.load(p_row, mask=m_dim[None, :], other=0.0).to(tl.float32)
    b_second = tl.load(p_row + HALF, mask=m_dim[None, :], other=0.0).to(tl.float32)
    o_scale = i_head * s_scales_head + i_page * s_scales_page
    p_code = p_codes + i_head * s_codes_head + i_page * s_codes_page + o_row[:, None] * s_codes_row
    p_code += o_dim[None, :]
    if PER_CHANNEL:
        b_first_least, b_first_step = stored_range(tl.min(b_first, 0), tl.max(b_first, 0), MOST)
        b_second_least, b_second_step = stored_range(tl.min(b_second, 0), tl.max(b_second, 0), MOST)
        tl.store(p_least + o_scale + o_dim, b_first_least, mask=m_dim)
        tl.store(p_least + o_scale + HALF + o_dim, b_second_least, mask=m_dim)
        tl.store(p_scales + o_scale + o_dim, b_first_step, mask=m_dim)
        tl.store(p_scales + o_scale + HALF + o_dim, b_second_step, mask=m_dim)
        b_first_codes = codes_of(b_first, b_first_least[None, :], b_first_step[None, :], MOST)
        b_second_codes = codes_of(b_second, b_second_least[None, :], b_second_step[None, :], MOST)
    else:
        m_both = m_dim[None, :]
        b_low = tl.minimum(
            tl.min(tl.where(m_both, b_first, float("inf")), 1),
            tl.min(tl.where(m_both, b_second, float("inf")), 1),
        )
        b_high = tl.maximum(
            tl.max(tl.where(m_both, b_first, float("-inf")), 1),
            tl.max(tl.where(m_both, b_second, float("-inf")), 1),
        )
        b_least, b_step = stored_range(b_low, b_high, MOST)
        tl.store(p_least + o_scale + o_row, b_least)
        tl.store(p_scales + o_scale + o_row, b_step)
        b_first_codes = codes_of(b_first, b_least[:, None], b_step[:, None], MOST)
        b_second_codes = codes_of(b_second, b_least[:, None], b_step[:, None], MOST)
    if BITS == 4:
        tl.store(p_code, b_first_codes | (b_second_codes << 4), mask=m_dim[None, :])
    else:
        tl.store(p_code, b_first_codes, mask=m_dim[None, :])
        tl.store(p_code + HALF, b_second_codes, mask=m_dim[None, :])
    if BOUNDED:
        o_run = i_page * RUNS + tl.arange(0, RUNS)
        o_bound = i_head * s_bounds_head + o_run[:, None] * (2 * HALF) + o_dim[None, :]
        m_bound = m_dim[None, :]
        b_first = tl.reshape(b_first, (RUNS, ROWS // RUNS, WIDTH))
        b_second = tl.reshape(b_second, (RUNS, ROWS // RUNS, WIDTH))
        tl.store(p_least_bounds + o_bound, tl.min(b_first, 1), mask=m_bound)
        tl.store(p_least_bounds + o_bound + HALF, tl.min(b_second, 1), mask=m_bound)
        tl.store(p_most_bounds + o_bound, tl.max(b_first, 1), mask=m_bound)
        tl.store(p_most_bounds + o_bound + HALF, tl.max(b_second, 1), mask=m_bound)
