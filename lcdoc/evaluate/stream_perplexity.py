"""How well the last tokens of a long stream are foretold: with and without first tokens, and by a fresh window."""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch

from lcdoc.config import ReadSettings
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.reader import Reader
from lcdoc.engine.stream_judges import Surprising
from lcdoc.engine.stream_reader import StreamReader
from lcdoc.engine.stream_sizes import StreamSizes
from lcdoc.errors import DoesNotFitError, UsageError
from lcdoc.evaluate.haystack import Haystack
from lcdoc.evaluate.modes import switch
from lcdoc.evaluate.perplexity import EXACT, begin_ids
from lcdoc.evaluate.subject import Subject
from lcdoc.evaluate.suite import Round, Suite
from lcdoc.tasks.progress import Observer, Progress
from lcdoc.tasks.room import context_window

# First and last tokens (StreamingLLM); these and what surprised; last tokens alone; the last tokens read anew for every
# block that is scored, which StreamingLLM's paper calls sliding window with re-computation.
SINKS, KEPT, NO_SINKS, FRESH = "sinks", "kept", "no-sinks", "fresh"
WAYS = (SINKS, KEPT, NO_SINKS, FRESH)
BLOCK_TOKENS = 256
OBSERVED_TOKENS = 4096


@dataclass(frozen=True)
class LongText:
    """length_tokens: of each book, from its start, of which the last scored_tokens are scored. Raises UsageError for a
    value that is not allowed."""

    length_tokens: int
    scored_tokens: int
    ways: tuple[str, ...]
    books: tuple[str, ...]
    sink_tokens: int
    window_tokens: int
    keep_tokens: int
    chunk_tokens: int

    def __post_init__(self) -> None:
        unknown = [way for way in self.ways if way not in WAYS]
        if unknown or not self.ways:
            raise UsageError(
                f"ways must be some of {', '.join(WAYS)}, not {repr(unknown[0]) if unknown else 'none'}"
            )
        if not 0 < self.scored_tokens < self.length_tokens - self.window_tokens:
            raise UsageError(
                f"the scored tokens must be 1 or more and leave a window of {self.window_tokens:,} of the "
                f"{self.length_tokens:,} before them, not {self.scored_tokens:,}"
            )

    def sizes(self, way: str) -> StreamSizes:
        sink = 0 if way == NO_SINKS else self.sink_tokens
        keep = self.keep_tokens if way == KEPT else 0
        return StreamSizes(sink, keep, self.window_tokens, self.chunk_tokens, 0)


@dataclass(frozen=True)
class TailCell:
    """loss: mean negative log likelihood of the tokens scored, in nats; perplexity: its exponential."""

    way: str
    book: str
    length_tokens: int
    scored_tokens: int
    loss: float
    perplexity: float
    seconds: float


class TailTest(Suite[TailCell]):
    """Making it loads no weights. Raises UsageError where a book is too short, DoesNotFitError where the model's window
    is."""

    def __init__(self, settings: ReadSettings, text: LongText) -> None:
        self._text, self._subject = text, Subject(settings, ())
        window = context_window(self._subject.config)
        needed = text.sizes(KEPT if KEPT in text.ways else SINKS).capacity
        if needed > window:
            raise DoesNotFitError(
                f"{needed:,} tokens would be held, but the model's window is {window:,}; choose a smaller --window or "
                f"--keep"
            )
        self._books = [Haystack.open(name, self._subject.tokenizer) for name in text.books]
        for book in self._books:
            book.check_length(text.length_tokens)
        head = self._subject.head(
            "stream perplexity", **asdict(text), books_sha256=[book.sha256 for book in self._books]
        )
        super().__init__(TailCell, head, len(text.books) * len(text.ways))

    def rounds(self) -> Iterator[Round[TailCell]]:
        """Book by book, way beside way."""
        for book in self._books:
            for way in self._text.ways:

                def measure(observer: Observer, book: Haystack = book, way: str = way) -> Iterator[TailCell]:
                    yield self._read(book, way, observer)

                yield Round(1, measure)

    def score(self) -> dict[str, Any]:
        """By way: perplexity over all books, and its ratio to a fresh window's over the same ones."""
        losses: dict[str, dict[str, float]] = {}
        for cell in self.cells:
            losses.setdefault(cell.way, {})[cell.book] = cell.loss
        fresh = losses.get(FRESH, {})
        return {
            way: {
                "perplexity": math.exp(sum(found.values()) / len(found)),
                "ratio_to_fresh": math.exp(sum(found[book] - fresh[book] for book in found) / len(found))
                if found.keys() <= fresh.keys()
                else None,
            }
            for way, found in losses.items()
        }

    def _read(self, book: Haystack, way: str, observer: Observer) -> TailCell:
        text, started = self._text, time.perf_counter()
        begin = begin_ids(self._subject.tokenizer)
        ids = [*begin, *book.token_ids[: text.length_tokens - len(begin)]]
        switch(self._subject.model, EXACT)
        surprise = (self._fresh if way == FRESH else self._stream)(ids, way, observer)
        loss = float(surprise.double().mean())
        return TailCell(
            way=way,
            book=book.name,
            length_tokens=len(ids),
            scored_tokens=len(surprise),
            loss=loss,
            perplexity=math.exp(loss),
            seconds=round(time.perf_counter() - started, 3),
        )

    def _stream(self, ids: list[int], way: str, observer: Observer) -> torch.Tensor:
        judge = Surprising() if way == KEPT else None
        reading = StreamReader(self._subject.model, self._text.sizes(way), judge)
        first = len(ids) - self._text.scored_tokens
        for start in range(0, first, OBSERVED_TOKENS):
            reading.read(ids[start : min(first, start + OBSERVED_TOKENS)])
            observer(Progress("stream", reading.seen_tokens, len(ids), 0.0, 0, 0))
        return reading.score(ids[first:])

    def _fresh(self, ids: list[int], way: str, observer: Observer) -> torch.Tensor:
        window, first = self._text.window_tokens, len(ids) - self._text.scored_tokens
        found = []
        for start in range(first, len(ids), BLOCK_TOKENS):
            block = ids[start : start + BLOCK_TOKENS]
            reader = Reader(
                self._subject.model,
                HeadSplit.exact(),
                capacity_tokens=window + len(block),
                chunk_tokens=BLOCK_TOKENS,
            )
            reader.prefill(ids[start - window : start])
            found.append(-reader.score(block))
            observer(Progress("stream", start + len(block), len(ids), 0.0, 0, 0))
        return torch.cat(found)
