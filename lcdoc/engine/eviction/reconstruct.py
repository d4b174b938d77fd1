"""Attention while the text is written out again (KVzip, arXiv 2505.23416), for documents asked many things."""

from dataclasses import dataclass

import torch

from lcdoc.engine.eviction.evidence import Evidence
from lcdoc.engine.eviction.policy import REPEAT

BLOCK_QUERIES = 128


@dataclass(frozen=True)
class Reconstruction:
    """The most attention that any query paid while each chunk was repeated right after it was read."""

    name: str = "reconstruct"
    listens: str = REPEAT
    accumulates: bool = True
    shares: bool = True
    reach_tokens: int = 0

    def score(self, evidence: Evidence) -> torch.Tensor:
        best = evidence.previous.clone()
        for first in range(0, evidence.queries.shape[3], BLOCK_QUERIES):
            attention = evidence.attention(first, first + BLOCK_QUERIES)
            best = torch.maximum(best, attention.amax(dim=(2, 3)))
        return best
