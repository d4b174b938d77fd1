"""A page's codes as a kernel loads them."""

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
