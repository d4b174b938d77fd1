"""Attention that later queries are expected to pay (Expected Attention, arXiv 2510.00636)."""

from dataclasses import dataclass

import torch

from lcdoc.engine.eviction.evidence import Evidence
from lcdoc.engine.eviction.policy import CHUNK


@dataclass(frozen=True)
class ExpectedAttention:
    """The expectation of exp(q . k) for queries as normally distributed as the chunk's own, times the value's norm.

    The paper takes queries before rotation and rotates their mean and covariance to later positions; here the
    rotated queries themselves give both, over a chunk of positions, which needs no knowledge of the model's rotation
    and leaves the spread that rotation adds where it belongs, in the covariance.
    """

    name: str = "expected"
    listens: str = CHUNK
    accumulates: bool = False
    shares: bool = True
    reach_tokens: int = 0

    def score(self, evidence: Evidence) -> torch.Tensor:
        queries = evidence.queries.float() * evidence.scale  # [1, kv, group, q, d]
        keys = evidence.keys.float().unsqueeze(2)  # [1, kv, 1, length, d]
        mean = queries.mean(dim=3, keepdim=True)
        centred = queries - mean
        covariance = centred.transpose(-1, -2) @ centred / max(1, queries.shape[3] - 1)
        exponent = (keys * mean).sum(-1) + 0.5 * ((keys @ covariance) * keys).sum(
            -1
        )  # [1, kv, group, length]
        expected = torch.softmax(exponent, dim=-1).mean(dim=2)
        return expected * evidence.values.float().norm(dim=-1)
