"""An excerpt: documents made of chosen spans alone, word for word and in order, on pages of their own names."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from lcdoc.documents.document import Document, Page
from lcdoc.fusion.spans import Span

ELLIPSIS = "\n...\n"

# Between spans: an ellipsis, a page's marker.
BETWEEN_TOKENS = 12


def choose(spans: Sequence[Span], scores: Sequence[float], max_tokens: int) -> list[Span]:
    """The spans with the highest scores, best first, as many as have room; one at least."""
    ranked = sorted(zip(spans, scores, strict=True), key=lambda pair: pair[1], reverse=True)
    chosen: list[Span] = []
    room = max_tokens
    for span, _ in ranked:
        if not span.text.strip():
            continue
        room -= span.num_tokens + BETWEEN_TOKENS
        if chosen and room < 0:
            break
        chosen.append(span)
    return chosen


def excerpt(chosen: Sequence[Span]) -> list[Document]:
    """The documents of the spans, in order; an ellipsis stands wherever something was left out between two."""
    spans = sorted(chosen, key=lambda span: span.start)
    documents = []
    for _, group in groupby(spans, key=lambda span: id(span.page.document)):
        own = list(group)
        document = own[0].page.document
        documents.append(replace(document, pages=tuple(_pages(own))))
    return documents


def _pages(spans: Sequence[Span]) -> Iterator[Page]:
    """spans: of one document, in order."""
    last = spans[-1]
    followers = [*(span.start for span in spans[1:]), last.stop]
    texts = [
        span.text if span.stop == follower else span.text.rstrip() + ELLIPSIS
        for span, follower in zip(spans, followers, strict=True)
    ]
    for _, group in groupby(zip(spans, texts, strict=True), key=lambda pair: pair[0].page.start):
        own = list(group)
        yield replace(own[0][0].page.page, text="".join(text for _, text in own))
