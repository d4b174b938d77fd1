"""Block scores in plain PyTorch: the truth that the kernel is held to."""

import torch
from torch.nn import functional as F


def block_score(
    query: torch.Tensor, keys: torch.Tensor, *, scale: float, query_block: int, key_block: int, stride: int
) -> torch.Tensor:
    """The share of its attention that each block of queries pays to each block of keys, as every stride-th query of the
    block tells (SampleAttention, arXiv 2406.15486).

    query: [1, heads, num_queries, head_dim]; keys: [1, kv_heads, num_keys, head_dim], seen by all queries, with heads a
    multiple of kv_heads. query_block: a multiple of stride, of which the middle query stands for the others. The last
    blocks may be short. Returns [heads, query_blocks, key_blocks] in float32; each row's sum is 1.
    """
    heads, num_queries = query.shape[1:3]
    group = heads // keys.shape[1]
    sampled = query[
        0, :, sampled_rows(num_queries, query_block, stride, query.device)
    ]  # [heads, blocks, rows, d]
    missing = -keys.shape[2] % key_block
    shares = []
    for head in range(keys.shape[1]):
        own = sampled[head * group : (head + 1) * group].float()
        weights = torch.softmax(own.flatten(0, 2) @ keys[0, head].float().T * scale, dim=-1)
        blocks = F.pad(weights, (0, missing)).unflatten(1, (-1, key_block)).sum(-1)
        shares.append(blocks.view(*own.shape[:3], -1).mean(2))
    return torch.cat(shares)


def sampled_rows(num_queries: int, query_block: int, stride: int, device: torch.device) -> torch.Tensor:
    """Which queries stand for their block, [query_blocks, query_block // stride]; of a short block the last one may do
    so more than once."""
    first = torch.arange(0, num_queries, query_block, device=device)
    rows = first[:, None] + torch.arange(stride // 2, query_block, stride, device=device)
    return rows.clamp(max=num_queries - 1)
