"""A document's chapters: by its outline, by the headings of its sections, or by lines that read "Chapter 4"."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from lcdoc.documents.document import Document, Page

MARKDOWN_HEADING = re.compile(r"^(#{1,6})[ \t]+(.+?)[ \t#]*$", re.MULTILINE)
NAMED_HEADING = re.compile(
    r"^[ \t]*((?:chapter|letter|part|book|section|act|kapitel|teil|chapitre|partie|cap[i\u00ed]tulo|capitolo)"
    r"[ \t]+(?:\d{1,3}|[IVXLC]{1,8})\b[^\n]{0,80}|(?:prologue|epilogue|preface|introduction|conclusion)\.?)[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)
# Of a section that was cut for its length.
CUT_LABEL = re.compile(r", part \d+$")

# What stands before the first chapter.
BEGINNING = "beginning"

# A heading with fewer words below it is a line of contents or a title page.
LEAST_WORDS = 30


@dataclass(frozen=True)
class Chapter:
    """title: in one line. document: with the chapter's own text alone, on pages of their own numbers."""

    title: str
    document: Document


@dataclass(frozen=True)
class _Start:
    """Where a chapter begins: the index of its page, and the character there."""

    page: int
    char: int
    title: str


def chapters_of(document: Document) -> list[Chapter]:
    """In order; what stands before the first is one called "beginning". None where the document has no outline."""
    starts = _in_order(_starts(document))
    if not starts:
        return []
    starts = [_Start(0, 0, BEGINNING), *starts]
    ends = [*starts[1:], _Start(len(document.pages), 0, "")]
    chapters: list[Chapter] = []
    for start, end in zip(starts, ends, strict=True):
        pages = tuple(_between(document.pages, start, end))
        words = sum(len(page.text.split()) for page in pages)
        if words < LEAST_WORDS and chapters:  # nothing is left out for being short
            joined = _joined(chapters[-1].document.pages, pages)
            chapters[-1] = replace(chapters[-1], document=replace(document, pages=joined))
        elif words:
            title = start.title if words >= LEAST_WORDS else BEGINNING
            chapters.append(Chapter(title, replace(document, pages=pages)))
    return chapters if len(chapters) > 1 else []


def _starts(document: Document) -> list[_Start]:
    if document.headings:
        indexes = {page.number: index for index, page in enumerate(document.pages)}
        return [
            _Start(indexes[heading.page], 0, heading.title)
            for heading in document.headings
            if heading.page in indexes
        ]
    if document.unit in ("section", "chapter"):
        return list(_labelled(document.pages))
    if document.format == "markdown":
        found = [
            (len(match[1]), _Start(index, match.start(), match[2]))
            for index, page in enumerate(document.pages)
            for match in MARKDOWN_HEADING.finditer(page.text)
        ]
        return _highest(found)
    return [
        _Start(index, match.start(1), match[1])
        for index, page in enumerate(document.pages)
        for match in NAMED_HEADING.finditer(page.text)
    ]


def _labelled(pages: Sequence[Page]) -> Iterator[_Start]:
    """The pages of a format whose pages are sections already."""
    numbered = groupby(enumerate(pages), key=lambda pair: CUT_LABEL.sub("", pair[1].label))
    for label, group in numbered:
        yield _Start(next(group)[0], 0, label)


def _highest(found: Sequence[tuple[int, _Start]]) -> list[_Start]:
    """Of the highest level that has more than one: a title alone divides nothing."""
    levels = [level for level, _ in found]
    for level in sorted(set(levels)):
        if levels.count(level) > 1:
            return [start for own, start in found if own <= level]
    return []


def _in_order(starts: Sequence[_Start]) -> list[_Start]:
    """Of those at one place the first, and none that leads back."""
    kept: list[_Start] = []
    for start in starts:
        if not kept or (start.page, start.char) > (kept[-1].page, kept[-1].char):
            kept.append(replace(start, title=" ".join(start.title.split())))
    return kept


def _between(pages: Sequence[Page], start: _Start, end: _Start) -> Iterator[Page]:
    for index in range(start.page, min(end.page + 1, len(pages))):
        page = pages[index]
        last = end.char if index == end.page else len(page.text)
        first = start.char if index == start.page else 0
        if last > first:
            yield replace(page, text=page.text[first:last])


def _joined(before: Sequence[Page], after: Sequence[Page]) -> tuple[Page, ...]:
    """One run of pages; a page that was divided between the two is whole again."""
    if before and after and before[-1].number == after[0].number:
        whole = replace(after[0], text=before[-1].text + after[0].text)
        return (*before[:-1], whole, *after[1:])
    return (*before, *after)
