"""What one document says and another doesn't, sentence by sentence, wherever it stands in either."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lcdoc.citations.normal_text import NormalText
from lcdoc.citations.source_text import Place
from lcdoc.documents.document import Document

HEADING = re.compile(r"^[ \t]*#.*$", re.MULTILINE)
# A sentence's end, which a heading's number is none, or that of a paragraph, an item or a row.
ENDS = re.compile(
    r"(?<=[.!?])(?<!# \d\.)(?<!# \d\d\.)\s+"
    r"(?=[\"'\u201c\u2018(\[]*[A-Z\u00c0-\u00de0-9])|\n\s*\n|\n(?=\s*(?:[-*\u2022]|\d+[.)])\s)"
)
# Of 100: sentences less alike than this are two, not one that was changed.
MIN_ALIKE = 55


@dataclass(frozen=True)
class Difference:
    """before: None for what was added; after: None for what was taken out."""

    before: Place | None
    after: Place | None


@dataclass(frozen=True)
class Statement:
    """A sentence. chars: without its typography, by which it is the same as another."""

    place: Place
    chars: str


def differences(before: Document, after: Document) -> list[Difference]:
    """In the order of the documents. A sentence that stands elsewhere, or is set in other type, is no difference."""
    from rapidfuzz.distance import LCSseq

    old, new = list(_statements(before)), list(_statements(after))
    old_chars, new_chars = [one.chars for one in old], [one.chars for one in new]
    there, was_there = set(new_chars), set(old_chars)
    found: list[Difference] = []
    gone: list[Statement] = []
    come: list[Statement] = []
    for code in LCSseq.opcodes(old_chars, new_chars):
        if code.tag == "equal":
            found += _paired(gone, come)
            gone, come = [], []
        else:
            gone += [one for one in old[code.src_start : code.src_end] if one.chars not in there]
            come += [one for one in new[code.dest_start : code.dest_end] if one.chars not in was_there]
    return [*found, *_paired(gone, come)]


def _statements(document: Document) -> Iterator[Statement]:
    for page in document.pages:
        for piece in ENDS.split(HEADING.sub(r"\n\g<0>\n", page.text)):
            words = " ".join(piece.split())
            chars = NormalText(words).chars
            if any(char.isalnum() for char in chars):
                yield Statement(Place(document, page, page, words), chars)


def _paired(gone: Sequence[Statement], come: Sequence[Statement]) -> Iterator[Difference]:
    """Each sentence that is gone with the one most like it that came, if any is."""
    from rapidfuzz.fuzz import ratio

    left = list(come)
    for old in gone:
        best = max(left, key=lambda new: ratio(old.chars, new.chars), default=None)
        if best is not None and ratio(old.chars, best.chars) >= MIN_ALIKE:
            left.remove(best)
            yield Difference(old.place, best.place)
        else:
            yield Difference(old.place, None)
    for new in left:
        yield Difference(None, new.place)
