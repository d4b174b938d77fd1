"""Attention of the question itself, put to what is held after each chunk: needs a question known ahead."""

from dataclasses import dataclass

import torch

from lcdoc.engine.eviction.evidence import Evidence
from lcdoc.engine.eviction.policy import QUESTION


@dataclass(frozen=True)
class QuestionProbe:
    """The most over the query group of the question's mean attention.

    The question attends to a fact's first words, and to its figures only when the answer is under way: in the heads
    that retrieve, and little in the others, what a token has goes over to the 15 on either side.
    """

    name: str = "question"
    listens: str = QUESTION
    accumulates: bool = False
    shares: bool = True
    reach_tokens: int = 15

    def score(self, evidence: Evidence) -> torch.Tensor:
        return torch.maximum(evidence.attention().mean(dim=3).amax(dim=2), evidence.previous)
