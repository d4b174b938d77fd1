"""Spans judged by the attention that the question pays to them in the heads that retrieve (arXiv 2506.09944)."""

from collections.abc import Sequence

import torch

from lcdoc.fusion.spans import Span

# What is attended to whatever the question is, at a part's ends above all, is taken off (arXiv 2410.02642).
NULL_QUESTION = "N/A"


def score(spans: Sequence[Span], mass: torch.Tensor, null_mass: torch.Tensor) -> list[float]:
    """How much more of its attention the question pays to each span of a part than a question about nothing does.

    spans: all of a part, in order. mass, null_mass: the share that each of the part's tokens has, [tokens]."""
    sizes = [span.num_tokens for span in spans]
    return [float(piece.sum()) for piece in (mass - null_mass).split(sizes)]
