"""Spans: short pieces of a document's pages, which know their tokens and their characters."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from lcdoc.documents.passages import cut_passages
from lcdoc.tokens import PageSpan, TokenizedDocument

# Long enough for a fact with what stands around it, short enough that several fit beside each other.
SPAN_TOKENS = 250


@dataclass(frozen=True)
class Span:
    """The tokens start..stop-1 of the whole text, all of one page, and where their characters stand in its text."""

    page: PageSpan
    start: int
    stop: int
    char_start: int
    char_stop: int

    @property
    def text(self) -> str:
        return self.page.page.text[self.char_start : self.char_stop]

    @property
    def num_tokens(self) -> int:
        return self.stop - self.start


def cut_spans(tokens: TokenizedDocument, max_tokens: int) -> list[Span]:
    """Spans of at most max_tokens that together are the whole text, each ending at the best break in it."""
    return [span for page in tokens.spans for span in _cut_page(tokens, page, max_tokens)]


def _cut_page(tokens: TokenizedDocument, page: PageSpan, max_tokens: int) -> Iterator[Span]:
    whole = Span(page, page.start, page.stop, 0, len(page.page.text))
    yield from _cut(tokens, whole, max_tokens, len(whole.text) * max_tokens // whole.num_tokens)


def _cut(tokens: TokenizedDocument, span: Span, max_tokens: int, max_chars: int) -> Iterator[Span]:
    """max_chars: as many as max_tokens are here on average; pieces with more tokens are cut smaller."""
    if span.num_tokens <= max_tokens:
        yield span
        return
    if max_chars < 1:  # more tokens than characters: the marker before the text
        middle = span.start + max_tokens
        yield Span(span.page, span.start, middle, span.char_start, span.char_start)
        rest = Span(span.page, middle, span.stop, span.char_start, span.char_stop)
        yield from _cut(tokens, rest, max_tokens, max_chars)
        return
    start, char_start, char_end = span.start, span.char_start, span.char_start
    for piece in cut_passages(span.text, max_chars):
        char_end += len(piece)
        stop = span.stop
        if char_end < span.char_stop:
            # The space between two pieces is the first character of a token of the second.
            word_end = char_end - len(piece) + len(piece.rstrip())
            stop = bisect_left(tokens.char_starts, word_end, start, span.stop)
        if stop == span.stop:  # what is left of the text has no tokens of its own
            char_end = span.char_stop
        if stop > start:
            part = Span(span.page, start, stop, char_start, char_end)
            yield from _cut(tokens, part, max_tokens, min(max_chars, len(part.text)) // 2)
            start, char_start = stop, char_end
