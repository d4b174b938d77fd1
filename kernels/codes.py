"""A page's codes as kernels load them, and the keys and values that they stand for."""

import triton
import triton.language as tl


@triton.jit
def load_codes(p_page, s_row, m_row, o_dim, BITS: tl.constexpr, HALF: tl.constexpr, COLUMNS: tl.constexpr):
    """A page's first and second half of channels, [COLUMNS, WIDTH] each; 0 where m_row is not, and beyond HALF."""
    p_row = p_page + tl.arange(0, COLUMNS)[:, None] * s_row + o_dim[None, :]
    m_code = m_row[:, None] & (o_dim < HALF)[None, :]
    b_first = tl.load(p_row, mask=m_code, other=0)
    if BITS == 4:
        b_second = b_first >> 4
        b_first = b_first & 15
    else:
        b_second = tl.load(p_row + HALF, mask=m_code, other=0)
    return b_first, b_second


@triton.jit
def load_keys(
    p_page, p_scales, p_least, s_row, o_dim, BITS: tl.constexpr, HALF: tl.constexpr, COLUMNS: tl.constexpr
):
    """A full page's keys as load_codes gives codes: in float32, or as they are at 16 bits. p_scales, p_least: of the
    page's channels."""
    m_row, m_dim = tl.full([COLUMNS], 1, tl.int1), o_dim < HALF
    b_first, b_second = load_codes(p_page, s_row, m_row, o_dim, BITS, HALF, COLUMNS)
    if BITS != 16:
        b_scale = tl.load(p_scales + o_dim, mask=m_dim, other=0.0).to(tl.float32)
        b_least = tl.load(p_least + o_dim, mask=m_dim, other=0.0).to(tl.float32)
        b_first = b_first.to(tl.float32) * b_scale[None, :] + b_least[None, :]
        b_scale = tl.load(p_scales + HALF + o_dim, mask=m_dim, other=0.0).to(tl.float32)
        b_least = tl.load(p_least + HALF + o_dim, mask=m_dim, other=0.0).to(tl.float32)
        b_second = b_second.to(tl.float32) * b_scale[None, :] + b_least[None, :]
    return b_first, b_second


@triton.jit
def load_values(
    p_page, p_scales, p_least, s_row, o_dim, BITS: tl.constexpr, HALF: tl.constexpr, COLUMNS: tl.constexpr
):
    """As load_keys. p_scales, p_least: of the page's tokens."""
    o_row = tl.arange(0, COLUMNS)
    m_row = tl.full([COLUMNS], 1, tl.int1)
    b_first, b_second = load_codes(p_page, s_row, m_row, o_dim, BITS, HALF, COLUMNS)
    if BITS != 16:
        b_scale = tl.load(p_scales + o_row).to(tl.float32)[:, None]
        b_least = tl.load(p_least + o_row).to(tl.float32)[:, None]
        b_first = b_first.to(tl.float32) * b_scale + b_least
        b_second = b_second.to(tl.float32) * b_scale + b_least
    return b_first, b_second


@triton.jit
def page_scores(
    b_first_query,
    b_second_query,
    p_page,
    p_scales,
    p_least,
    s_key_row,
    o_dim,
    BITS: tl.constexpr,
    HALF: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Both halves of some queries by a full page's keys, [ROWS, COLUMNS], not scaled."""
    b_first, b_second = load_keys(p_page, p_scales, p_least, s_key_row, o_dim, BITS, HALF, COLUMNS)
    dtype = b_first_query.dtype
    b_scores = tl.dot(b_first_query, tl.trans(b_first.to(dtype)), input_precision="ieee")
    return b_scores + tl.dot(b_second_query, tl.trans(b_second.to(dtype)), input_precision="ieee")
