"""Pages that an answer names ("p. 12", "pages 3-5", "[p. xii]", "lines 40-81"), and which of a document's they are."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial

from lcdoc.citations.source_text import SourceText
from lcdoc.documents.document import Page

ITEM = r"(?:[A-Za-z]{1,2}-?)?\d{1,6}|[ivxlc]{1,9}|[IVXLC]{1,9}"
PAGES = re.compile(
    rf"\b(?:pp?\.\s?|pgs?\.?\s?|pages?\s+)"
    rf"(?P<items>(?:{ITEM})(?![A-Za-z])(?:\s?(?:-|\u2013|\u2014|,\s?and|,|and|&|to)\s?(?:{ITEM})(?![A-Za-z0-9]))*)"
    rf"(?:\s?\(label\s(?P<label>[^()\n]{{1,80}})\))?",
    re.IGNORECASE,
)
NUMBERED = re.compile(
    r"\b(?P<unit>lines?|turns?)\s+(?P<first>\d{1,9})(?:\s?(?:-|\u2013|to)\s?(?P<last>\d{1,9}))?",
    re.IGNORECASE,
)
HEADED = re.compile(r"\b(?:chapter|letter|section|part|book)\s+(?:\d+(?:\.\d+)*|[IVXLC]+)\b", re.IGNORECASE)
BRACKETED = re.compile(r"[(\[]([^()\[\]\n]{3,100})[)\]]")
ROMAN = re.compile(r"(?=[ivxlc])c{0,3}(?:xc|xl|l?x{0,3})(?:ix|iv|v?i{0,3})", re.IGNORECASE)
RANGE = re.compile(r"\s?(?:-|\u2013|\u2014|\bto\b)\s?")
MAX_RANGE_PAGES = 200


@dataclass(frozen=True)
class PageReference:
    """start and end: of its words in the text searched. pages: those it means; none where there is no such page."""

    words: str
    start: int
    end: int
    pages: tuple[tuple[SourceText, Page], ...]


def page_references(text: str, sources: Sequence[SourceText]) -> list[PageReference]:
    """All in order. A name of a file in the text keeps them to that file."""
    named = [source for source in sources if _name(source) in text]
    meant = named or sources
    found: list[PageReference] = []
    pages_of, headed = cache(partial(_pages_of, sources=meant)), cache(partial(_headed, sources=meant))
    for match in PAGES.finditer(text):
        items = _items(match["items"])
        if items:
            pages = pages_of(items, match["label"])
            found.append(PageReference(" ".join(match[0].split()), *match.span(), pages))
    for match in NUMBERED.finditer(text):
        unit = match["unit"].lower().rstrip("s")
        counted = [source for source in meant if source.document.unit.rstrip("s") == unit]
        if counted:
            first, last = int(match["first"]), int(match["last"] or match["first"])
            found.append(PageReference(match[0], *match.span(), tuple(_overlapping(first, last, counted))))
    taken = {offset for reference in found for offset in range(reference.start, reference.end)}
    for match in (*HEADED.finditer(text), *BRACKETED.finditer(text)):
        pages = headed(match[1] if match.re is BRACKETED else match[0])
        if pages and taken.isdisjoint(range(*match.span())):
            found.append(PageReference(match[0], *match.span(), pages))
            taken.update(range(*match.span()))
    return sorted(found, key=lambda reference: reference.start)


def _name(source: SourceText) -> str:
    return source.document.source.replace("\\", "/").rpartition("/")[2]


def _items(words: str) -> tuple[tuple[str, str], ...]:
    """First and last page of each item; none where a Roman numeral is a word."""
    found = []
    for part in re.split(r",\s?and|,|&|\band\b", words):
        ends = [end.strip() for end in RANGE.split(part.strip())]
        if any(end.isalpha() and not ROMAN.fullmatch(end) for end in ends):
            return ()
        found.append((ends[0], ends[-1]))
    return tuple(found)


def _pages_of(
    items: tuple[tuple[str, str], ...], label: str | None, sources: Sequence[SourceText]
) -> tuple[tuple[SourceText, Page], ...]:
    """By the pages' own labels and by their place in the file: a reader may mean either. With a label given, pages
    that have both."""
    found = []
    for source in sources:
        for page in source.document.pages:
            if any(_is_meant(page, *ends) for ends in items) and (label is None or page.label == label):
                found.append((source, page))
    return tuple(found)


def _is_meant(page: Page, first: str, last: str) -> bool:
    if page.label.casefold() in (first.casefold(), last.casefold()):
        return True
    if not (first.isdigit() and last.isdigit()):
        return False
    low, high = int(first), int(last)
    if high < low and len(last) < len(first):  # 312-15
        high = int(first[: -len(last)] + last)
    numbers = [page.number, *([int(page.label)] if page.label.isdecimal() else [])]
    return high - low <= MAX_RANGE_PAGES and any(low <= number <= high for number in numbers)


def _overlapping(first: int, last: int, sources: Sequence[SourceText]) -> Iterator[tuple[SourceText, Page]]:
    for source in sources:
        for page in source.document.pages:
            numbers = [int(number) for number in re.findall(r"\d+", page.label)]
            if numbers and numbers[0] <= last and first <= numbers[-1]:
                yield source, page


def _headed(words: str, sources: Sequence[SourceText]) -> tuple[tuple[SourceText, Page], ...]:
    """Pages whose label is these words, or begins with them."""
    wanted = " ".join(words.casefold().split())
    begins = re.compile(rf"{re.escape(wanted)}(?!\w|\.\d)")
    return tuple(
        (source, page)
        for source in sources
        for page in source.document.pages
        if begins.match(page.label.casefold())
    )
