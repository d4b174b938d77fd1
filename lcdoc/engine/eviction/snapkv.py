"""Attention of an observation window at the end of what was read (SnapKV, arXiv 2404.14469)."""

from dataclasses import dataclass

import torch

from lcdoc.engine.eviction.evidence import Evidence, pooled
from lcdoc.engine.eviction.policy import CHUNK


@dataclass(frozen=True)
class ObservationWindow:
    """The mean attention of the chunk's last window_tokens, the most of kernel_tokens neighbours."""

    window_tokens: int = 64
    kernel_tokens: int = 7
    name: str = "snapkv"
    listens: str = CHUNK
    accumulates: bool = False
    shares: bool = True
    reach_tokens: int = 0

    def score(self, evidence: Evidence) -> torch.Tensor:
        first = max(0, evidence.queries.shape[3] - self.window_tokens)
        return pooled(evidence.attention(first).mean(dim=(2, 3)), self.kernel_tokens)
