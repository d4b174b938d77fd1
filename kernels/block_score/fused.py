"""Block scores in Triton: a program for each head and block of queries, twice over the keys."""

import torch
import triton
import triton.language as tl
from lcdoc.kernels.codes import page_scores
from lcdoc.kernels.pages import Pages

from .naive import sampled_queries


def block_score(
    query: torch.Tensor, near_keys: torch.Tensor, keys: Pages, *, scale: float, query_block: int, stride: int
) -> torch.Tensor:
    """As naive.block_score. Pages of a power of 2 tokens, 16 or more."""
    kv_heads, num_pages, page_size = keys.codes.shape[1:4]
    sampled = sampled_queries(query, query_block, stride).contiguous()
    heads, blocks, rows, head_dim = sampled.shape
    grouped = sampled.view(kv_heads, -1, head_dim).float()
    near_lse = torch.logsumexp(
        grouped @ near_keys[0].float().mT * scale, -1
    )  # [kv_heads, group * blocks * rows]
    shares = torch.empty(heads, blocks, num_pages, dtype=torch.float32, device=query.device)
    score_kernel[(blocks, heads)](
        sampled,
        near_lse,
        keys.codes,
        keys.scales,
        keys.least,
        shares,
        *(keys.codes.stride(dim) for dim in (1, 2, 3)),
        *(keys.scales.stride(dim) for dim in (1, 2)),
        num_pages,
        scale,
        BITS=keys.bits,
        GROUP=heads // kv_heads,
        HALF=head_dim // 2,
        WIDTH=max(16, triton.next_power_of_2(head_dim // 2)),
        SAMPLES=rows,
        ROWS=max(16, triton.next_power_of_2(rows)),
        COLUMNS=page_size,
    )
    return shares


@triton.jit
def score_kernel(
    p_query,
    p_near_lse,
    p_key_codes,
    p_key_scales,
    p_key_least,
    p_shares,
    s_key_head,
    s_key_page,
    s_key_row,
    s_key_scales_head,
    s_key_scales_page,
    num_pages,
    scale,
    BITS: tl.constexpr,
    GROUP: tl.constexpr,
    HALF: tl.constexpr,
    WIDTH: tl.constexpr,
    SAMPLES: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    i_block, i_head = tl.program_id(0), tl.program_id(1)
    i_kv_head = (i_head // GROUP).to(tl.int64)
    o_row, o_dim = tl.arange(0, ROWS), tl.arange(0, WIDTH)
    m_row = o_row < SAMPLES
    m_query = m_row[:, None] & (o_dim < HALF)[None, :]
    i_program = (i_head * tl.num_programs(0) + i_block).to(tl.int64)
    p_row = p_query + (i_program * SAMPLES + o_row)[:, None] * (2 * HALF) + o_dim[None, :]
    b_first_query = tl.load(p_row, mask=m_query, other=0.0)
    b_second_query = tl.load(p_row + HALF, mask=m_query, other=0.0)
    p_key_codes += i_kv_head * s_key_head
    p_key_scales += i_kv_head * s_key_scales_head
    p_key_least += i_kv_head * s_key_scales_head
    p_shares += i_program * num_pages
    b_near = tl.load(p_near_lse + i_program * SAMPLES + o_row, mask=m_row, other=0.0)
    b_most = tl.maximum(b_near, -1e30)
    b_sum = tl.exp(b_near - b_most)  # 0 where nothing is near
    for i_next in range(0, num_pages):
        i_page = i_next + tl.zeros([], tl.int64)
        b_scores = page_scores(
            b_first_query,
            b_second_query,
            p_key_codes + i_page * s_key_page,
            p_key_scales + i_page * s_key_scales_page,
            p_key_least + i_page * s_key_scales_page,
            s_key_row,
            o_dim,
            BITS,
            HALF,
            COLUMNS,
        )
        b_scores *= scale
        b_more = tl.maximum(b_most, tl.max(b_scores, 1))
        b_sum = b_sum * tl.exp(b_most - b_more) + tl.sum(tl.exp(b_scores - b_more[:, None]), 1)
        b_most = b_more
    for i_next in range(0, num_pages):
        i_page = i_next + tl.zeros([], tl.int64)
        b_scores = page_scores(
            b_first_query,
            b_second_query,
            p_key_codes + i_page * s_key_page,
            p_key_scales + i_page * s_key_scales_page,
            p_key_least + i_page * s_key_scales_page,
            s_key_row,
            o_dim,
            BITS,
            HALF,
            COLUMNS,
        )
        b_weights = tl.exp(b_scores * scale - b_most[:, None]) / b_sum[:, None]
        b_weights = tl.where(m_row[:, None], b_weights, 0.0)
        tl.store(p_shares + i_next, tl.sum(b_weights) / SAMPLES)
