"""Reads a text without end in constant memory: its first tokens, its last ones, and the best of those between.

Sinks and a window at positions within the cache are StreamingLLM's (arXiv 2309.17453). Knows token ids only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lcdoc.engine.checkpoint import Checkpoint
from lcdoc.engine.eviction.allocation import spread
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.reader import Reader
from lcdoc.engine.stream_judges import Judge
from lcdoc.engine.stream_sizes import StreamSizes

# A kept token brings so many on either side with it.
REACH_TOKENS = 24


@dataclass(frozen=True)
class Ledger:
    """What is known of the tokens held, in order, [length] each. offsets: where in the text they stood, int64.
    surprise: negative log probabilities in nats, float32; 0 where they are not known."""

    token_ids: torch.Tensor
    offsets: torch.Tensor
    surprise: torch.Tensor

    @classmethod
    def empty(cls) -> "Ledger":
        none = torch.empty(0, dtype=torch.int64)
        return cls(none, none, torch.empty(0))

    def __len__(self) -> int:
        return len(self.token_ids)

    def add(self, other: "Ledger") -> "Ledger":
        columns = zip(self._columns, other._columns, strict=True)
        return Ledger(*(torch.cat(pair) for pair in columns))

    def at(self, indices: torch.Tensor) -> "Ledger":
        return Ledger(*(column[indices] for column in self._columns))

    @property
    def _columns(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return self.token_ids, self.offsets, self.surprise


class StreamReader:
    """reader: holds no more than sizes say, and may be marked, asked and rewound between two calls of `read`.

    seen_tokens: of the text. held: what the reader holds. num_kept: of it those that left the window.
    """

    def __init__(self, model: Any, sizes: StreamSizes, judge: Judge | None) -> None:
        """judge: None where nothing is to be kept but first and last tokens."""
        self.sizes, self._judge = sizes, judge
        self.reader = Reader(
            model,
            HeadSplit.exact(),
            capacity_tokens=sizes.capacity,
            chunk_tokens=sizes.chunk,
            rolling_tokens=sizes.held,
        )
        self.seen_tokens = self.num_kept = 0
        self.held = Ledger.empty()

    @property
    def room_tokens(self) -> int:
        """So many can be read before some leave the window."""
        return self.sizes.sink + self.num_kept + self.sizes.window + self.sizes.chunk - len(self.held)

    def read(self, token_ids: Sequence[int]) -> None:
        """What leaves the window leaves at places of the text alone, however it comes in pieces."""
        self._go_on(token_ids, self._judge is not None and self._judge.needs_surprise)

    def score(self, token_ids: Sequence[int]) -> torch.Tensor:
        """Reads token_ids and returns the negative log probability that each of them had, [length] in float32; 0 for
        the first of all."""
        return self._go_on(token_ids, scoring=True)

    def _go_on(self, token_ids: Sequence[int], scoring: bool) -> torch.Tensor:
        surprises = [torch.empty(0)]
        done = 0
        while done < len(token_ids):
            piece = list(token_ids[done : done + min(self.sizes.chunk, self.room_tokens)])
            surprise = torch.zeros(len(piece))
            if scoring:
                surprise = self.reader.surprise(piece)
            else:
                self.reader.prefill(piece)
            offsets = torch.arange(self.seen_tokens, self.seen_tokens + len(piece))
            self.held = self.held.add(Ledger(torch.tensor(piece), offsets, surprise))
            self.seen_tokens += len(piece)
            surprises.append(surprise)
            if not self.room_tokens:
                self._move_up()
            done += len(piece)
        return torch.cat(surprises)

    def _move_up(self) -> None:
        """A chunk leaves the window, and the best of it and of what was kept stays."""
        start, stop = self.sizes.sink, len(self.held) - self.sizes.window
        best = self._best(start, stop)
        kept = torch.cat((torch.arange(start), best, torch.arange(stop, len(self.held))))
        self.reader.keep(kept)
        self.num_kept, self.held = len(best), self.held.at(kept)

    def _best(self, start: int, stop: int) -> torch.Tensor:
        """Of the tokens start..stop-1 of those held the ones that stay, rising."""
        if self._judge is None or not self.sizes.keep:
            return torch.empty(0, dtype=torch.int64)
        scores = self._judge.scores(self.reader, start, stop, self.held.surprise[start:stop])
        scores = spread(scores, self.held.offsets[start:stop], REACH_TOKENS, 1.0)
        return scores.topk(min(self.sizes.keep, len(scores))).indices.sort().values + start

    def put(self, seen_tokens: int, num_kept: int, held: Ledger, checkpoint: Checkpoint) -> None:
        """Goes on where another one was, whose reader left the checkpoint; this one has read nothing."""
        assert not self.seen_tokens
        self.reader.restore(len(held), checkpoint)
        self.seen_tokens, self.num_kept, self.held = seen_tokens, num_kept, held
