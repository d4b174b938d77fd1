"""Who may hold how much: the tokens of all heads compete for the places there are."""

from collections.abc import Sequence

import torch

# Of an equal share, what every head gets before its tokens compete with other heads' (AdaKV, arXiv 2407.11550).
FLOOR_SHARE = 0.3


def choose_kept(
    scores: Sequence[torch.Tensor], protected: Sequence[torch.Tensor], keep_tokens: int, shares: bool
) -> list[torch.Tensor]:
    """Which tokens stay, a boolean mask per head.

    scores, protected: for each head [length], lengths may differ; protected tokens always stay. keep_tokens: per head
    on average, where the protected ones leave so much. shares: whether a head may take places of another.
    """
    ranked = [score.masked_fill(mask, torch.inf) for score, mask in zip(scores, protected, strict=True)]
    if not shares:
        return [_best(score, keep_tokens) for score in ranked]
    floor = int(keep_tokens * FLOOR_SHARE)
    ranked = [score.masked_fill(_best(score, floor), torch.inf) for score in ranked]
    return list(_best(torch.cat(ranked), keep_tokens * len(ranked)).split([len(score) for score in ranked]))


def spread(scores: torch.Tensor, positions: torch.Tensor, reach_tokens: int, share: float) -> torch.Tensor:
    """What a token has itself or, less with each step away, at most `share` of what any token within reach has: a span
    is kept whole, and is cut at its ends, not at random. scores: [length], none below 0; positions: [length], rising.
    """
    best = scores.clone()
    for step in range(1, min(reach_tokens, len(scores) - 1) + 1):
        apart = positions[step:] - positions[:-step]
        weight = share * (1 - apart / (reach_tokens + 1)).clamp(min=0)
        best[step:] = torch.maximum(best[step:], scores[:-step] * weight)
        best[:-step] = torch.maximum(best[:-step], scores[step:] * weight)
    return best


def _best(score: torch.Tensor, count: int) -> torch.Tensor:
    """Mask of the count highest, and of all that are infinite."""
    mask = torch.isposinf(score)
    mask[score.topk(min(count, len(score))).indices] = True
    return mask
