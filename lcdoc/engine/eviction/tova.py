"""Attention of the last token alone (TOVA, arXiv 2401.06104)."""

from dataclasses import dataclass

import torch

from lcdoc.engine.eviction.evidence import Evidence
from lcdoc.engine.eviction.policy import CHUNK


@dataclass(frozen=True)
class LastToken:
    """The mean over the query group of the last query's attention."""

    name: str = "tova"
    listens: str = CHUNK
    accumulates: bool = False
    shares: bool = False
    reach_tokens: int = 0

    def score(self, evidence: Evidence) -> torch.Tensor:
        return evidence.attention(evidence.queries.shape[3] - 1).mean(dim=(2, 3))
