"""Attention gathered over all of the reading (heavy hitters, H2O, arXiv 2306.14048)."""

from dataclasses import dataclass

import torch

from lcdoc.engine.eviction.evidence import Evidence
from lcdoc.engine.eviction.policy import CHUNK

# Attention of this many queries at a time is made explicit.
BLOCK_QUERIES = 128


@dataclass(frozen=True)
class HeavyHitters:
    """The sum of the attention that every query of the document paid to a token, over the query group."""

    name: str = "h2o"
    listens: str = CHUNK
    accumulates: bool = True
    shares: bool = True
    reach_tokens: int = 0

    def score(self, evidence: Evidence) -> torch.Tensor:
        total = evidence.previous.clone()
        for first in range(0, evidence.queries.shape[3], BLOCK_QUERIES):
            total += evidence.attention(first, first + BLOCK_QUERIES).sum(dim=(2, 3))
        return total
