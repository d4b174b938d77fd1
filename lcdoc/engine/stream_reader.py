"""Reads a text without end in constant memory: its first tokens, its last ones, and the best of those between.

Sinks and a window at positions within the cache are StreamingLLM's (arXiv 2309.17453). Knows token ids only.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from lcdoc.engine.eviction.allocation import spread
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.reader import Reader
from lcdoc.engine.stream_judges import Judge
from lcdoc.engine.stream_sizes import StreamSizes

# A kept token brings so many on either side with it.
REACH_TOKENS = 24


class StreamReader:
    """reader: holds no more than sizes say, and may be marked, asked and rewound between two calls of `read`.

    seen_tokens: of the text. token_ids, offsets: of what is held, in order; where in the text it stood.
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
        self.token_ids: list[int] = []
        self.offsets = torch.empty(0, dtype=torch.int64)
        self._surprise = torch.empty(0)

    @property
    def room_tokens(self) -> int:
        """So many can be read before some leave the window."""
        return self.sizes.sink + self.num_kept + self.sizes.window + self.sizes.chunk - len(self.token_ids)

    def read(self, token_ids: Sequence[int], on_chunk: Callable[[int], None] | None = None) -> None:
        """What leaves the window leaves at places of the text alone, however it comes in pieces. on_chunk hears how
        many of these tokens are done."""
        done = 0
        while done < len(token_ids):
            piece = list(token_ids[done : done + min(self.sizes.chunk, self.room_tokens)])
            self._read(piece)
            if not self.room_tokens:
                self._move_up()
            done += len(piece)
            if on_chunk is not None:
                on_chunk(done)

    def _read(self, piece: list[int]) -> None:
        surprise = torch.zeros(len(piece))
        if self._judge is not None and self._judge.needs_surprise:
            surprise = self.reader.surprise(piece)
        else:
            self.reader.prefill(piece)
        self._surprise = torch.cat((self._surprise, surprise))
        self.offsets = torch.cat((self.offsets, torch.arange(self.seen_tokens, self.seen_tokens + len(piece))))
        self.token_ids += piece
        self.seen_tokens += len(piece)

    def _move_up(self) -> None:
        """A chunk leaves the window, and the best of it and of what was kept stays."""
        start, stop = self.sizes.sink, len(self.token_ids) - self.sizes.window
        best = self._best(start, stop)
        last = torch.arange(stop, len(self.token_ids))
        kept = torch.cat((torch.arange(start), best, last))
        self.reader.keep(kept)
        self.num_kept = len(best)
        self.token_ids = [self.token_ids[idx] for idx in kept.tolist()]
        self.offsets, self._surprise = self.offsets[kept], self._surprise[kept]

    def _best(self, start: int, stop: int) -> torch.Tensor:
        """Of the tokens start..stop-1 those that stay, rising."""
        if self._judge is None or not self.sizes.keep:
            return torch.empty(0, dtype=torch.int64)
        scores = self._judge.scores(self.reader, start, stop, self._surprise[start:stop])
        scores = spread(scores, self.offsets[start:stop], REACH_TOKENS, 1.0)
        return scores.topk(min(self.sizes.keep, len(scores))).indices.sort().values + start

    @property
    def kept_spans(self) -> list[tuple[int, int]]:
        """Where in the text the kept tokens stood, start and stop of each run."""
        spans: list[tuple[int, int]] = []
        for offset in self.offsets[self.sizes.sink : self.sizes.sink + self.num_kept].tolist():
            if spans and spans[-1][1] == offset:
                spans[-1] = (spans[-1][0], offset + 1)
            else:
                spans.append((offset, offset + 1))
        return spans
