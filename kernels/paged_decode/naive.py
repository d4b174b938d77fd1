"""Attention over pages in plain PyTorch, all of them dequantised at once: the truth that the kernel is held to."""

import torch
from lcdoc.kernels.pages import Pages

Pair = tuple[torch.Tensor, torch.Tensor]


def paged_decode(
    query: torch.Tensor,
    keys: Pages,
    values: Pages,
    num_tokens: torch.Tensor,
    *,
    scale: float,
    page_lists: torch.Tensor | None = None,
) -> Pair:
    """Softmax attention of one query over the first num_tokens of the pages listed.

    query: [1, heads, 1, head_dim], with heads a multiple of kv_heads. num_tokens: int32 [kv_heads], on the device, so
    that no shape depends on it: all listed pages before the last one in use are full. page_lists: int32 [kv_heads,
    most pages], the numbers of the pages that each KV head sees; None for all in order. Returns output [1, heads, 1,
    head_dim] and the natural log-sum-exp [1, heads, 1] in float32; 0 and -inf where num_tokens is 0.
    """
    dtype = torch.promote_types(query.dtype, torch.float32)
    tokens = (_listed(pages.numbers(dtype)[0], page_lists).flatten(1, 2) for pages in (keys, values))
    held_keys, held_values = tokens  # [kv_heads, tokens, head_dim]
    unseen = (
        torch.arange(held_keys.shape[1], device=query.device) >= num_tokens[:, None]
    )  # [kv_heads, tokens]
    held_values = held_values.masked_fill(unseen[..., None], 0.0)
    grouped = query[0, :, 0].unflatten(0, (held_keys.shape[0], -1)).to(dtype)  # [kv_heads, group, head_dim]
    scores = (grouped @ held_keys.transpose(1, 2) * scale).masked_fill(unseen[:, None], float("-inf"))
    lse = torch.logsumexp(scores, dim=-1)
    weights = torch.exp(scores - lse[..., None]).masked_fill(unseen[:, None], 0.0)
    output = (weights @ held_values).flatten(0, 1)
    return output[None, :, None].to(query.dtype), lse.flatten()[None, :, None]


def _listed(tensor: torch.Tensor, page_lists: torch.Tensor | None) -> torch.Tensor:
    if page_lists is None:
        return tensor
    heads = torch.arange(len(tensor), device=tensor.device)[:, None]
    return tensor[heads, page_lists.long()]
