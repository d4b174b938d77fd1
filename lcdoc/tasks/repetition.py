"""Answers that go round in a circle, as small models' do: they are led out of it, or ended."""

from collections.abc import Callable, Iterator, Sequence

import torch

# A phrase is not begun again once it was said so often in a row. Short ones, and those of few different tokens, are
# left alone: lines and tables are made of them.
SAID_TIMES = 3
LEAST_PHRASE = 4

# What is said so often over and over, and for so long, is said without end. Tables and lists stay below it.
LEAST_TIMES = 4
LEAST_TOKENS = 64

MOST_TOKENS_APART = 64


class CircleBreaker:
    """Picks tokens as another picker does, but leaves a phrase that was just said SAID_TIMES in a row at the point
    where it would begin again."""

    def __init__(self, pick: Callable[[torch.Tensor], int]) -> None:
        self.pick = pick
        self._token_ids: list[int] = []
        self.times_broken = 0

    def __call__(self, logits: torch.Tensor) -> int:
        """logits: [vocab]. Returns a token id."""
        again = _begins_again(self._token_ids)
        if again is not None:
            self.times_broken += int(logits.argmax()) == again
            logits = logits.index_fill(0, torch.tensor([again], device=logits.device), -torch.inf)
        self._token_ids.append(self.pick(logits))
        return self._token_ids[-1]


def goes_in_a_circle(token_ids: Sequence[int]) -> bool:
    """Whether the last tokens are the same few, LEAST_TIMES or more in a row."""
    return any(
        _repeats(token_ids, apart, max(LEAST_TIMES * apart, LEAST_TOKENS)) for apart in _distances(token_ids)
    )


def _begins_again(token_ids: Sequence[int]) -> int | None:
    """The token with which a phrase would begin once more."""
    for apart in _distances(token_ids):
        phrase = token_ids[-apart:]
        if len(set(phrase)) >= LEAST_PHRASE and _repeats(token_ids, apart, SAID_TIMES * apart):
            return phrase[0]
    return None


def _distances(token_ids: Sequence[int]) -> Iterator[int]:
    """Back to tokens that equal the last."""
    most = min(MOST_TOKENS_APART, len(token_ids) - 1)
    return (apart for apart in range(1, most + 1) if token_ids[-1 - apart] == token_ids[-1])


def _repeats(token_ids: Sequence[int], apart: int, length: int) -> bool:
    """Whether each of the last `length` tokens equals the one `apart` before it, where that is one of them too."""
    last = token_ids[-length:]
    return length <= len(token_ids) and last[apart:] == last[:-apart]
