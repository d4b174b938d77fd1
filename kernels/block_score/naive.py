"""Block scores in plain PyTorch: the truth that the kernel is held to."""

import torch
from lcdoc.kernels.pages import Pages

# Of one KV head's keys so many pages are in float32 at a time.
RUN_PAGES = 64


def block_score(
    query: torch.Tensor, near_keys: torch.Tensor, keys: Pages, *, scale: float, query_block: int, stride: int
) -> torch.Tensor:
    """The share of its attention that each block of queries pays to each page of keys, as every stride-th query of the
    block tells (SampleAttention, arXiv 2406.15486).

    query: [1, heads, num_queries, head_dim], with heads a multiple of kv_heads; all queries see all keys. near_keys:
    [1, kv_heads, length, head_dim], those in no page. query_block: a multiple of stride, of which the middle query
    stands for the others; the last block may be short. Returns [heads, query_blocks, pages] in float32; what a row's
    sum lacks of 1 goes to near_keys.
    """
    num_pages = keys.codes.shape[2]
    sampled = sampled_queries(query, query_block, stride)  # [heads, query_blocks, rows, head_dim]
    shares = []
    for head, own in enumerate(sampled.split(query.shape[1] // near_keys.shape[1])):
        rows = own.flatten(0, 2).float() * scale
        parts = [torch.logsumexp(rows @ near_keys[0, head].float().T, -1, keepdim=True)]
        for first in range(0, num_pages, RUN_PAGES):
            run = keys.chosen(head, slice(first, first + RUN_PAGES)).numbers(torch.float32)[0, 0]
            parts.append(torch.logsumexp((rows @ run.flatten(0, 1).T).unflatten(1, (len(run), -1)), -1))
        weights = torch.softmax(torch.cat(parts, -1), -1)[:, 1:]
        shares.append(weights.view(*own.shape[:3], num_pages).mean(2))
    return torch.cat(shares)


def sampled_queries(query: torch.Tensor, query_block: int, stride: int) -> torch.Tensor:
    """The queries that stand for their block, [heads, query_blocks, query_block // stride, head_dim]; of a short block
    the last one may do so more than once."""
    num_queries = query.shape[2]
    first = torch.arange(0, num_queries, query_block, device=query.device)
    rows = first[:, None] + torch.arange(stride // 2, query_block, stride, device=query.device)
    return query[0][:, rows.clamp(max=num_queries - 1)]
