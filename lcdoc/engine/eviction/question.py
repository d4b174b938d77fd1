"""Attention of the question itself, put to what is held after each chunk: needs a question known ahead."""

from dataclasses import dataclass

import torch

from lcdoc.engine.eviction.evidence import Evidence, pooled
from lcdoc.engine.eviction.policy import QUESTION


@dataclass(frozen=True)
class QuestionProbe:
    """The most over the query group of the question's mean attention, the most of kernel_tokens neighbours.

    Narrow pooling keeps a fact's first words and loses its figures; 15 tokens keep the phrase.
    """

    kernel_tokens: int = 15
    name: str = "question"
    listens: str = QUESTION
    accumulates: bool = False
    shares: bool = True

    def score(self, evidence: Evidence) -> torch.Tensor:
        fresh = pooled(evidence.attention().mean(dim=3).amax(dim=2), self.kernel_tokens)
        return torch.maximum(fresh, evidence.previous)
