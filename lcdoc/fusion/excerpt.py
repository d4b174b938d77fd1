"""An excerpt: documents made of chosen spans alone, word for word and in order, on pages of their own names."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from lcdoc.documents.document import Document, Page
from lcdoc.fusion.spans import Span
from lcdoc.tokens import PageSpan, TokenizedDocument

ELLIPSIS = "\n...\n"

# Between spans: an ellipsis, a page's marker.
BETWEEN_TOKENS = 12


def choose(
    spans: Sequence[Span], scores: Sequence[float], max_tokens: int, first: Sequence[Span] = ()
) -> list[Span]:
    """The spans with the highest scores, best first, as many as have room; one at least. first: those before all."""
    ranked = sorted(zip(spans, scores, strict=True), key=lambda pair: pair[1], reverse=True)
    chosen: list[Span] = []
    taken: set[int] = set()
    room = max_tokens
    for span in (*first, *(span for span, _ in ranked)):
        if span.start in taken or not span.text.strip():
            continue
        room -= span.num_tokens + BETWEEN_TOKENS
        if chosen and room < 0:
            break
        chosen.append(span)
        taken.add(span.start)
    return chosen


def excerpt(documents: Sequence[Document], chosen: Sequence[Span]) -> list[Document]:
    """The documents with what was chosen alone, in order; an ellipsis stands wherever something was left out between
    two spans of one. A document of which nothing was chosen has no pages left."""
    spans = sorted(chosen, key=lambda span: span.start)
    return [
        replace(document, pages=tuple(_pages([span for span in spans if span.page.document is document])))
        for document in documents
    ]


def excerpt_tokens(
    tokens: TokenizedDocument, documents: Sequence[Document], chosen: Sequence[Span]
) -> TokenizedDocument:
    """The tokens that the chosen spans have in the whole text, with their places in the excerpt of it: what stands
    between two spans there has none. tokens: of the documents."""
    token_ids: list[int] = []
    char_starts = array("L")
    page_spans = []
    spans = sorted(chosen, key=lambda span: span.start)
    for document, short in zip(documents, excerpt(documents, chosen), strict=True):
        texts = _texts([span for span in spans if span.page.document is document])
        for page, own in zip(short.pages, texts, strict=True):
            start, char = len(token_ids), 0
            for span, text in own:
                token_ids += tokens.token_ids[span.start : span.stop]
                moved = char - span.char_start
                char_starts.extend(
                    max(first + moved, 0) for first in tokens.char_starts[span.start : span.stop]
                )
                char += len(text)
            page_spans.append(PageSpan(short, page, start, len(token_ids)))
    return TokenizedDocument(token_ids, char_starts, tuple(page_spans))


def _pages(spans: Sequence[Span]) -> Iterator[Page]:
    """spans: of one document, in order."""
    for own in _texts(spans):
        yield replace(own[0][0].page.page, text="".join(text for _, text in own))


def _texts(spans: Sequence[Span]) -> Iterator[list[tuple[Span, str]]]:
    """Page by page the spans of one document, in order, with what an excerpt has of each."""
    followers = [span.start for span in spans[1:]] + [span.stop for span in spans[-1:]]
    texts = [
        span.text if span.stop == follower else span.text.rstrip() + ELLIPSIS
        for span, follower in zip(spans, followers, strict=True)
    ]
    for _, group in groupby(zip(spans, texts, strict=True), key=lambda pair: pair[0].page.start):
        yield list(group)
