"""Sinks and a moving window under an explicit mask, in plain PyTorch: the truth that the kernel is held to."""

import torch

Pair = tuple[torch.Tensor, torch.Tensor]


def attend_sink_window(
    query: torch.Tensor,
    sinks: Pair,
    run: Pair,
    *,
    first_query: int,
    first_key: int,
    window: int,
    scale: float,
) -> Pair:
    """Softmax attention of the query at position p over the sinks and positions p - window + 1 .. p.

    query: [1, heads, num_queries, head_dim], the first at position first_query. sinks: keys and values of the positions
    from 0 on, [1, kv_heads, num_sinks, head_dim]; run: those from first_key up to the last query's, of which sinks are
    not seen a second time. Returns output [1, heads, num_queries, head_dim] and the natural log-sum-exp
    [1, heads, num_queries] in float32.
    """
    group, num_sinks = query.shape[1] // run[0].shape[1], sinks[0].shape[2]
    keys, values = (
        torch.cat(pair, dim=2).repeat_interleave(group, 1).float() for pair in zip(sinks, run, strict=True)
    )
    sink_positions = torch.arange(num_sinks, device=query.device)
    run_positions = first_key + torch.arange(run[0].shape[2], device=query.device)
    at = first_query + torch.arange(query.shape[2], device=query.device)[:, None]
    in_window = (run_positions <= at) & (run_positions > at - window) & (run_positions >= num_sinks)
    seen = torch.cat((sink_positions <= at, in_window), dim=1)
    scores = (query.float() @ keys.transpose(-1, -2) * scale).masked_fill(~seen, float("-inf"))
    lse = torch.logsumexp(scores, dim=-1)
    return (torch.exp(scores - lse[..., None]) @ values).to(query.dtype), lse
