"""Cuts long text into passages that end at paragraphs, else at lines, sentences, spaces."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

# Best first: after a blank line, after a line, after a sentence, after a space.
_BREAKS = (
    re.compile(r"\n[ \t]*\n+"),
    re.compile(r"\n"),
    re.compile(r"[.!?][\"'\u201d\u2019)]* +|[\u3002\uff01\uff1f]"),
    re.compile(r"\s+"),
)


@dataclass(frozen=True)
class Passage:
    """A piece of a longer text; first_line and last_line count from 1."""

    text: str
    first_line: int
    last_line: int


def cut_passages(text: str, max_chars: int) -> list[str]:
    """Pieces of at most max_chars that together are the text, each ending at the best break in it."""
    return [text[start:end] for start, end in _spans(text, max_chars)]


def line_passages(text: str, max_chars: int, first_line: int = 1) -> Iterator[Passage]:
    """Passages that know their lines; blank lines around a passage are left out of it."""
    line = first_line
    for piece in cut_passages(text, max_chars):
        body = piece.strip("\n")
        start = line + len(piece) - len(piece.lstrip("\n"))
        line += piece.count("\n")
        if body.strip():
            yield Passage(body, start, start + body.count("\n"))


def group_by_size(texts: Iterable[str], max_chars: int) -> Iterator[tuple[int, int]]:
    """Spans [start, end) of neighbours that together have at most max_chars, or are one text alone."""
    start, size, end = 0, 0, 0
    for end, text in enumerate(texts, start=1):
        if size and size + len(text) > max_chars:
            yield start, end - 1
            start, size = end - 1, 0
        size += len(text)
    if end > start:
        yield start, end


def _spans(text: str, max_chars: int) -> Iterator[tuple[int, int]]:
    start = 0
    while len(text) - start > max_chars:
        end = _best_end(text, start, start + max_chars)
        yield start, end
        start = end
    if start < len(text):
        yield start, len(text)


def _best_end(text: str, start: int, limit: int) -> int:
    """The last best break before the limit; one in the first half would make passages too small."""
    middle = (start + limit) // 2
    for pattern in _BREAKS:
        ends = [match.end() for match in pattern.finditer(text, middle, limit)]
        if ends:
            return ends[-1]
    return limit
