"""Blocks of text under headings, as the pages of a document that has none."""

from collections.abc import Iterable, Sequence

from lcdoc.documents.cleaning import squeeze
from lcdoc.documents.document import Page
from lcdoc.documents.markup import Block, join_blocks
from lcdoc.documents.passages import cut_passages

_SECTION_CHARS = 8_000
_LABEL_CHARS = 80


def split_at_headings(blocks: Sequence[Block]) -> list[Page]:
    """A page per heading, labelled by it, and one labelled "beginning" for what stands before the first.

    A heading with nothing below it goes with the next. Sections of more than 8,000 characters are cut
    and labelled "Heading, part 2".
    """
    sections: list[tuple[str, list[Block]]] = []
    has_body = True
    for block in blocks:
        if block.heading and has_body:
            sections.append((block.text, [block]))
            has_body = False
        elif not sections:
            sections.append(("beginning", [block]))
        else:
            sections[-1][1].append(block)
            has_body = has_body or not block.heading
    return label_pages((label, join_blocks(section)) for label, section in sections)


def label_pages(sections: Iterable[tuple[str, str]]) -> list[Page]:
    """Numbered pages of labelled texts, the long ones in parts; texts of white space are left out."""
    pages: list[Page] = []
    for label, text in sections:
        parts = [part for part in cut_passages(text, _SECTION_CHARS) if part.strip()]
        for index, part in enumerate(parts, start=1):
            name = _shorten(label) if len(parts) == 1 else f"{_shorten(label)}, part {index}"
            pages.append(Page(len(pages) + 1, name, part.strip("\n")))
    return pages


def _shorten(label: str) -> str:
    label = squeeze(label)
    return label if len(label) <= _LABEL_CHARS else label[: _LABEL_CHARS - 3].rstrip() + "..."
