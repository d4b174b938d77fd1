"""What an eviction policy is: a name, whose queries it listens to, and one score."""

from typing import Protocol

import torch

from lcdoc.engine.eviction.evidence import Evidence

# Whose queries are the evidence: the chunk's own, the known questions', or a request to repeat the chunk.
CHUNK, QUESTION, REPEAT = "chunk", "question", "repeat"


class Policy(Protocol):
    """A way to tell which tokens matter. The tokens of a KV head with the highest scores are kept.

    listens: CHUNK, QUESTION or REPEAT. accumulates: whether scores grow over the chunks, so that each must be scored,
    not only those after which there is too much. shares: whether scores compare between heads, so that one head may
    hold more than another (AdaKV, arXiv 2407.11550). reach_tokens: how far what a token has goes over to others beside
    it, in heads that retrieve.
    """

    @property
    def name(self) -> str: ...

    @property
    def listens(self) -> str: ...

    @property
    def accumulates(self) -> bool: ...

    @property
    def shares(self) -> bool: ...

    @property
    def reach_tokens(self) -> int: ...

    def score(self, evidence: Evidence) -> torch.Tensor:
        """[1, num_kv_heads, length] in float32."""
        ...
