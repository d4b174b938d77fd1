"""Parts of documents that are summarized one by one, and the units whose parts may be merged."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby
from typing import Any

from lcdoc.documents.chapters import Chapter, chapters_of
from lcdoc.documents.document import Document, Page
from lcdoc.fusion.excerpt import excerpt
from lcdoc.fusion.parts import cut_parts
from lcdoc.fusion.spans import SPAN_TOKENS, Span, cut_spans
from lcdoc.tasks.summarize.sentences import Sentence, sentences_of
from lcdoc.tasks.summarize.summary import Place
from lcdoc.tokens import tokenize


@dataclass(frozen=True)
class Part:
    """A run of one unit's text, of pages that follow each other in the file."""

    document: Document
    spans: tuple[Span, ...]

    @property
    def num_tokens(self) -> int:
        return sum(span.num_tokens for span in self.spans)

    @cached_property
    def pages(self) -> tuple[Page, ...]:
        """With the part's own text alone."""
        [document] = excerpt([self.document], self.spans)
        return document.pages

    @property
    def text(self) -> str:
        return "\n\n".join(page.text for page in self.pages)

    @cached_property
    def sentences(self) -> list[Sentence]:
        return sentences_of(self.pages)

    @property
    def as_document(self) -> Document:
        """To be read by itself, without page numbers among the text."""
        return replace(self.document, unit="section", pages=self.pages)


def place_of(parts: Sequence[Part]) -> Place:
    """parts: of one document, in order."""
    return pages_place(parts[0].document.source, [parts[0].pages[0], parts[-1].pages[-1]])


def pages_place(source: str, pages: Sequence[Page]) -> Place:
    """pages: in order."""
    first, last = pages[0], pages[-1]
    return Place(source, first.number, last.number, first.label, last.label)


@dataclass(frozen=True)
class Unit:
    """A document, or a chapter of one; title: the chapter's."""

    document: Document
    title: str | None = None


def units_of(documents: Sequence[Document], style: str) -> list[Unit]:
    """The chapters, where the style asks for them and a document has any; else the documents."""
    units = []
    for document in documents:
        chapters: list[Chapter] = chapters_of(document) if style == "chapters" else []
        units += [Unit(chapter.document, chapter.title) for chapter in chapters] or [Unit(document)]
    return units


def cut_unit(tokenizer: Any, unit: Unit, max_tokens: int) -> list[Part]:
    """Parts of at most so many tokens, about equally long; none where there is no text."""
    return [
        Part(unit.document, tuple(part))
        for run in _runs(cut_spans(tokenize(tokenizer, [unit.document]), min(SPAN_TOKENS, max_tokens)))
        for part in _even_parts(run, max_tokens)
        if any(span.text.strip() for span in part)
    ]


def _even_parts(spans: list[Span], max_tokens: int) -> list[list[Span]]:
    """As many as are needed, none of them a small rest where they can be more even."""
    parts = cut_parts(spans, max_tokens)
    total = sum(span.num_tokens for span in spans)
    even = -(-total // len(parts))
    longest = max(span.num_tokens for span in spans)
    while even < max_tokens:
        evener = cut_parts(spans, max(even, longest))
        if len(evener) == len(parts):
            return evener
        even += max(1, max_tokens // 32)
    return parts


def _runs(spans: Sequence[Span]) -> Iterator[list[Span]]:
    """Split where --pages left pages out between two."""
    numbered = groupby(
        _with_gaps(spans),
        key=lambda pair: pair[0],
    )
    for _, group in numbered:
        yield [span for _, span in group]


def _with_gaps(spans: Sequence[Span]) -> Iterator[tuple[int, Span]]:
    """Each span with the number of gaps before it."""
    gaps, before = 0, None
    for span in spans:
        number = span.page.page.number
        if before is not None and number > before + 1:
            gaps += 1
        before = number
        yield gaps, span
