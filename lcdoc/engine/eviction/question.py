"""Attention of the question itself, put to what is held after each chunk: needs a question known ahead."""

from dataclasses import dataclass

import torch

from lcdoc.engine.eviction.evidence import Evidence, spread
from lcdoc.engine.eviction.policy import QUESTION


@dataclass(frozen=True)
class QuestionProbe:
    """The most over the query group of the question's mean attention, spread over kernel_tokens neighbours.

    A narrow spread keeps a fact's first words and loses its figures. Of 15, 31, 47 and 63 tokens, flat or falling
    off, 31 falling off kept most of the sentences asked for.
    """

    kernel_tokens: int = 31
    name: str = "question"
    listens: str = QUESTION
    accumulates: bool = False
    shares: bool = True

    def score(self, evidence: Evidence) -> torch.Tensor:
        fresh = spread(evidence.attention().mean(dim=3).amax(dim=2), self.kernel_tokens)
        return torch.maximum(fresh, evidence.previous)
