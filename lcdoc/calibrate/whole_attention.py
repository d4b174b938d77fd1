"""Attention of a whole sequence at once, as calibration needs it: with gradients, and without a cache."""

from typing import Any

import torch
from torch.nn.functional import pad, scaled_dot_product_attention

from lcdoc.errors import ModelError
from lcdoc.kernels.attend import naive


def attend_full(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float, softcap: float | None
) -> torch.Tensor:
    """Every query sees every key up to its own.

    query: [1, heads, length, head_dim]; keys, values: [1, kv_heads, length, head_dim]. Returns [1, heads, length,
    head_dim].
    """
    if softcap is not None:
        return naive.attend(query, keys, values, scale=scale, causal=True, softcap=softcap)[0]
    return scaled_dot_product_attention(query, keys, values, is_causal=True, scale=scale, enable_gqa=True)


def attend_stream(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    scale: float,
    softcap: float | None,
    sink_size: int,
    recent_size: int,
) -> torch.Tensor:
    """As attend_full, where a query sees the first sink_size keys and the last recent_size up to its own: what a
    streaming head of the engine computes. Queries are taken in blocks of recent_size beside the two blocks of keys
    that they can see, so that the work grows with the length alone."""
    length, size = query.shape[2], recent_size
    num_blocks = -(-length // size)
    excess = num_blocks * size - length
    group = query.shape[1] // keys.shape[1]
    keys, values = keys.repeat_interleave(group, 1), values.repeat_interleave(group, 1)
    blocks = (
        pad(query, (0, 0, 0, excess))[0].unflatten(1, (num_blocks, size)).transpose(0, 1)
    )  # [n, h, size, d]
    sinks = min(sink_size, length)
    near_keys, near_values = (_beside_sinks(part, sinks, size, num_blocks, excess) for part in (keys, values))
    row = torch.arange(num_blocks * size, device=query.device).view(num_blocks, size, 1)
    first = (torch.arange(num_blocks, device=query.device) * size - size).view(num_blocks, 1, 1)
    band = first + torch.arange(2 * size, device=query.device)  # [n, 1, 2 * size]
    seen = (band >= 0) & (band <= row) & (band > row - size)
    sink = torch.arange(sinks, device=query.device) <= row - size
    mask = torch.cat([sink, seen], dim=-1)[:, None]  # [n, 1, size, sinks + 2 * size]
    if softcap is None:
        output = scaled_dot_product_attention(blocks, near_keys, near_values, attn_mask=mask, scale=scale)
    else:
        scores = torch.tanh(blocks @ near_keys.transpose(-1, -2) * (scale / softcap)) * softcap
        output = torch.softmax(scores.masked_fill(~mask, -torch.inf), -1) @ near_values
    return output.transpose(0, 1).flatten(1, 2)[None, :, :length]


def _beside_sinks(part: torch.Tensor, sinks: int, size: int, num_blocks: int, excess: int) -> torch.Tensor:
    """For each block of queries its keys: the sinks, the block before it and itself, [n, h, sinks + 2 * size, d]."""
    padded = pad(part, (0, 0, size, excess))[0]  # [h, (n + 1) * size, d]
    band = padded.unfold(1, 2 * size, size).permute(1, 0, 3, 2)  # [n, h, 2 * size, d]
    return torch.cat([part[:, :, :sinks].expand(num_blocks, -1, -1, -1), band], dim=2)


class WholeAttention:
    """An attention function for transformers' AttentionInterface. Each layer's own sliding window is kept to; what is
    done in the others is the subclass's."""

    def __call__(
        self,
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        scaling: float | None = None,
        sliding_window: int | None = None,
        softcap: float | None = None,
        s_aux: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, None]:
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        if s_aux is not None:
            raise ModelError("this model's attention has learned sinks, which calibration does not follow")
        if sliding_window is not None and sliding_window < query.shape[2]:
            output = attend_stream(query, key, value, scale, softcap, 0, sliding_window)
        elif sliding_window is not None:
            output = attend_full(query, key, value, scale, softcap)
        else:
            output = self.attend(int(module.layer_idx), query, key, value, scale, softcap)  # type: ignore[arg-type]
        return output.transpose(1, 2), None

    def attend(
        self,
        layer_idx: int,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        scale: float,
        softcap: float | None,
    ) -> torch.Tensor:
        """Output [1, heads, length, head_dim] of a layer that sees the whole sequence."""
        raise NotImplementedError
