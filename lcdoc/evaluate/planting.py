"""Needles in a user's own documents: sentences added between sentences, with nothing else changed."""

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lcdoc.documents.document import Document, Page
from lcdoc.evaluate.haystack import SENTENCE_END

# A page whose text ends so can take a sentence after it.
ENDS_A_SENTENCE = re.compile(r"[.!?][\"')\u201d\u2019]*\s*$")


@dataclass(frozen=True)
class Spot:
    """A border of sentences: the character of a page's text that the next one starts at.

    document_idx, page_idx: which of the documents, and of its pages. before: characters of all the text before it.
    """

    document_idx: int
    page_idx: int
    char: int
    before: int


@dataclass(frozen=True)
class Ground:
    """Documents to plant in, and all the spots of theirs in reading order, the very start and the very end included.

    num_chars: of all their pages' text.
    """

    documents: tuple[Document, ...]
    spots: tuple[Spot, ...]
    num_chars: int

    @classmethod
    def of(cls, documents: Sequence[Document]) -> "Ground":
        """documents: of which one page or more has text."""
        spots: list[Spot] = []
        before = 0
        places = [
            (document_idx, page_idx, page.text)
            for document_idx, document in enumerate(documents)
            for page_idx, page in enumerate(document.pages)
            if page.text.strip()
        ]
        for number, (document_idx, page_idx, text) in enumerate(places, start=1):
            chars = [0] if number == 1 else []
            chars += [match.end() for match in SENTENCE_END.finditer(text) if match.end() < len(text)]
            if number == len(places) or ENDS_A_SENTENCE.search(text):
                chars.append(len(text))
            spots += [Spot(document_idx, page_idx, char, before + char) for char in chars]
            before += len(text)
        return cls(tuple(documents), tuple(spots), before)

    def spot_at(self, depth: float) -> Spot:
        """The last one with no more than this share of the text before it."""
        idx = bisect_right(self.spots, depth * self.num_chars, key=lambda spot: spot.before)
        return self.spots[max(idx - 1, 0)]

    def depth_of(self, spot: Spot) -> float:
        """The share of the text before it."""
        return spot.before / self.num_chars

    def page_of(self, spot: Spot) -> Page:
        return self.documents[spot.document_idx].pages[spot.page_idx]

    def plant(self, sentences: Sequence[tuple[str, Spot]]) -> list[Document]:
        """The documents with each sentence at its spot; those at one spot stand in the order given."""
        planted = [list(document.pages) for document in self.documents]
        # From the end of the text on, so that the characters before still count as they did.
        for sentence, spot in sorted(reversed(sentences), key=lambda pair: pair[1].before, reverse=True):
            pages = planted[spot.document_idx]
            page = pages[spot.page_idx]
            head, tail = page.text[: spot.char], page.text[spot.char :]
            space = "" if not head or head[-1].isspace() else " "
            rest = f" {tail}" if tail else ""
            pages[spot.page_idx] = replace(page, text=f"{head}{space}{sentence}{rest}")
        return [
            replace(document, pages=tuple(pages))
            for document, pages in zip(self.documents, planted, strict=True)
        ]
