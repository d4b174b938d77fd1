"""Who may hold how much: the tokens of all heads compete for the places there are."""

import torch

# Of an equal share, what every head gets before its tokens compete with other heads' (AdaKV, arXiv 2407.11550).
FLOOR_SHARE = 0.3


def choose_kept(
    scores: list[torch.Tensor], protected: list[torch.Tensor], keep_tokens: int, shares: bool
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


def _best(score: torch.Tensor, count: int) -> torch.Tensor:
    """Mask of the count highest, and of all that are infinite."""
    mask = torch.isposinf(score)
    mask[score.topk(min(count, len(score))).indices] = True
    return mask
