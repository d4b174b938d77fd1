"""Sinks and the most recent tokens, whatever they say (StreamingLLM, arXiv 2309.17453)."""

from dataclasses import dataclass

import torch

from lcdoc.engine.eviction.evidence import Evidence
from lcdoc.engine.eviction.policy import CHUNK


@dataclass(frozen=True)
class Recent:
    """The later a token, the better; sinks are never up for eviction anyway."""

    name: str = "recent"
    listens: str = CHUNK
    accumulates: bool = False
    shares: bool = False
    reach_tokens: int = 0

    def score(self, evidence: Evidence) -> torch.Tensor:
        return evidence.key_positions.float().expand(evidence.keys.shape[:3])
