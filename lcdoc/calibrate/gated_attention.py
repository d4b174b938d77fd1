"""Attention in which each KV head is partly full and partly streaming, by a gate that can be trained."""

import torch

from lcdoc.calibrate.whole_attention import WholeAttention, attend_full, attend_stream


class GatedAttention(WholeAttention):
    """output = gate x full + (1 - gate) x streaming (DuoAttention, arXiv 2410.10819, section 3.2).

    gates: [num_layers, num_kv_heads] in [0, 1], the only parameters that are trained.
    """

    def __init__(self, gates: torch.Tensor, sink_size: int, recent_size: int) -> None:
        self.gates, self.sink_size, self.recent_size = gates, sink_size, recent_size
        self.gating = True  # else every head is full: the teacher

    def attend(
        self,
        layer_idx: int,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        scale: float,
        softcap: float | None,
    ) -> torch.Tensor:
        full = attend_full(query, keys, values, scale, softcap)
        if not self.gating:
            return full
        sizes = self.sink_size, self.recent_size
        streaming = attend_stream(query, keys, values, scale, softcap, *sizes)
        gate = self.gates[layer_idx].repeat_interleave(query.shape[1] // keys.shape[1])[:, None, None]
        return streaming + gate.to(full.dtype) * (full - streaming)
