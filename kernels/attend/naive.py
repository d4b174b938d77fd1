"""Attention over one mask-free or causal part, in plain PyTorch: the truth that faster paths are held to."""

import torch

# Scores of at most this many elements exist at a time, so that the workspace does not grow with the keys.
MAX_SCORE_ELEMENTS = 1 << 24


def attend(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    *,
    scale: float,
    causal: bool = False,
    softcap: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Softmax attention of every query over every key, with the log-sum-exp that lets parts be merged.

    query: [batch, heads, num_queries, head_dim]; keys: [batch, kv_heads, num_keys, head_dim];
    values: [batch, kv_heads, num_keys, value_dim], with heads a multiple of kv_heads (grouped queries).
    causal: num_queries == num_keys and query i sees keys 0..i.
    softcap: scores become softcap * tanh(scores / softcap), as Gemma 2 has it.
    Returns output [batch, heads, num_queries, value_dim] in the query's dtype and the natural
    log-sum-exp [batch, heads, num_queries] in float32.
    """
    batch, num_heads, num_queries, _ = query.shape
    num_kv_heads, num_keys = keys.shape[1], keys.shape[2]
    group = num_heads // num_kv_heads
    grouped = query.unflatten(1, (num_kv_heads, group)).float() * scale  # [b, kv, g, q, d]
    keys_t = keys.float().transpose(-1, -2).unsqueeze(2)  # [b, kv, 1, d, k]
    values_f = values.float().unsqueeze(2)  # [b, kv, 1, k, dv]
    rows = max(1, MAX_SCORE_ELEMENTS // max(1, batch * num_heads * num_keys))
    outputs, lses = [], []
    for start in range(0, num_queries, rows):
        block = grouped[..., start : start + rows, :]
        scores = block @ keys_t  # [b, kv, g, rows, k]
        if softcap is not None:
            scores = torch.tanh(scores / softcap) * softcap
        if causal:
            row = torch.arange(start, start + block.shape[-2], device=query.device)
            future = torch.arange(num_keys, device=query.device)[None, :] > row[:, None]
            scores = scores.masked_fill(future, float("-inf"))
        lse = torch.logsumexp(scores, dim=-1)
        outputs.append(torch.exp(scores - lse.unsqueeze(-1)) @ values_f)
        lses.append(lse)
    output = torch.cat(outputs, dim=-2).flatten(1, 2).to(query.dtype)
    return output, torch.cat(lses, dim=-1).flatten(1, 2)
