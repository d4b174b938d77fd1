"""Keys unlike the others (KeyDiff, arXiv 2504.15364): no attention is looked at."""

from dataclasses import dataclass

import torch
from torch.nn.functional import cosine_similarity, normalize

from lcdoc.engine.eviction.evidence import Evidence
from lcdoc.engine.eviction.policy import CHUNK


@dataclass(frozen=True)
class DistinctKeys:
    """How little a key points where the mean of all held keys' directions does."""

    name: str = "keydiff"
    listens: str = CHUNK
    accumulates: bool = False
    shares: bool = False
    reach_tokens: int = 0

    def score(self, evidence: Evidence) -> torch.Tensor:
        keys = evidence.keys.float()
        anchor = normalize(keys, dim=-1).mean(dim=2, keepdim=True)
        return -cosine_similarity(keys, anchor, dim=-1)
