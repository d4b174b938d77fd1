"""A document as one text in which every span knows its pages."""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from lcdoc.citations.normal_text import NormalText
from lcdoc.documents.document import Document, Page


@dataclass(frozen=True)
class Place:
    """Where words stand: from the first page to the last, and as the source has them."""

    document: Document
    first: Page
    last: Page
    words: str

    @property
    def pages(self) -> range:
        """The numbers of its pages."""
        return range(self.first.number, self.last.number + 1)


class SourceText:
    """The text of all pages of a document that have any, one after the other."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.pages = [page for page in document.pages if page.text]
        self._starts = [0, *accumulate(len(page.text) + 1 for page in self.pages)][:-1]

    @cached_property
    def text(self) -> str:
        return "\n".join(page.text for page in self.pages)

    @cached_property
    def normal(self) -> NormalText:
        return NormalText(self.text)

    def place(self, start: int, end: int) -> Place:
        """Of a span of the text."""
        first, last = self.page_at(start), self.page_at(max(start, end - 1))
        return Place(self.document, first, last, self.text[start:end])

    def page_at(self, offset: int) -> Page:
        return self.pages[bisect_right(self._starts, offset) - 1]

    def span_of(self, number: int) -> tuple[int, int] | None:
        """The span of a page's text; None for one without any."""
        for page, start in zip(self.pages, self._starts, strict=True):
            if page.number == number:
                return start, start + len(page.text)
        return None

    def occurrences(self, chars: str) -> Iterator[tuple[int, int]]:
        """Every span whose normal text is chars, in order."""
        position = 0
        while (found := self.normal.find(chars, position)) is not None:
            yield self.normal.original(*found)
            position = found[1]
