"""Attention over chosen blocks of keys in PyTorch: each row's blocks gathered, and attended without a mask."""

import torch
from lcdoc.kernels.attend import attend


def attend_blocks(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    keep: torch.Tensor,
    *,
    query_block: int,
    key_block: int,
    scale: float,
    softcap: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax attention of each block of queries over the blocks of keys that it keeps, all of which it sees whole.

    query: [1, heads, num_queries, head_dim]; keys, values: [1, kv_heads, num_keys, head_dim or value_dim], with heads a
    multiple of kv_heads. keep: bool [heads, query_blocks, key_blocks], at least one True in each row; the last blocks
    may be short. Returns output [1, heads, num_queries, value_dim] and log-sum-exp [1, heads, num_queries] in float32.
    """
    group = query.shape[1] // keys.shape[1]
    output = query.new_empty(*query.shape[:3], values.shape[-1])
    lse = torch.empty(query.shape[:3], dtype=torch.float32, device=query.device)
    for head, rows_kept in enumerate(keep.cpu()):
        own_keys, own_values = (tensor[:, head // group, None] for tensor in (keys, values))
        for row, kept in enumerate(rows_kept):
            rows = slice(row * query_block, (row + 1) * query_block)
            blocks = (_gathered(tensor, kept, key_block) for tensor in (own_keys, own_values))
            part = attend(query[:, head, None, rows], *blocks, scale=scale, softcap=softcap)
            output[:, head, None, rows], lse[:, head, None, rows] = part
    return output, lse


def _gathered(tensor: torch.Tensor, kept: torch.Tensor, block: int) -> torch.Tensor:
    """One head's kept blocks behind each other, [1, 1, tokens, head_dim]."""
    if bool(kept.all()):
        return tensor
    whole = tensor.shape[2] // block
    blocks = tensor[0, 0, : whole * block].unflatten(0, (whole, block))
    chosen = blocks.index_select(0, kept[:whole].nonzero()[:, 0].to(tensor.device)).flatten(0, 1)
    if len(kept) > whole and kept[whole]:
        chosen = torch.cat((chosen, tensor[0, 0, whole * block :]))
    return chosen[None, None]
