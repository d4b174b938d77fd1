"""Moving kept tokens to the front in plain PyTorch, through a copy: the truth that the kernel is held to."""

import torch


def compact(tokens: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Each head's kept tokens come to stand first, in order; what stands behind them afterwards is worth nothing.

    tokens: [1, kv_heads, length, head_dim], overwritten. kept: int64 [kv_heads, num_kept], each row rising. Returns
    those that stayed, a view [1, kv_heads, num_kept, head_dim].
    """
    index = kept[None, :, :, None].expand(-1, -1, -1, tokens.shape[-1])
    stayed = tokens[:, :, : kept.shape[1]]
    stayed.copy_(tokens.gather(2, index))
    return stayed
