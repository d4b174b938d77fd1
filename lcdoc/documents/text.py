"""Plain text and Markdown, cut into passages that are labelled by their lines."""

from lcdoc.documents.cleaning import clean_text
from lcdoc.documents.document import Document, Page
from lcdoc.documents.encoding import decode
from lcdoc.documents.passages import line_passages

_PASSAGE_CHARS = 2_000
# A form feed ends a page of print. Longer pieces are no pages, so lines name their places better.
_MAX_PRINTED_PAGE_CHARS = 8_000


def read_text(data: bytes, source: str, kind: str) -> Document:
    """kind: "text" or "markdown". Pages are passages ("lines 40-81"), or pages where form feeds end them."""
    text, warnings = decode(data, source)
    return text_document(text, source, kind, warnings)


def text_document(text: str, source: str, kind: str, warnings: tuple[str, ...]) -> Document:
    """A document of decoded text."""
    parts = [clean_text(part) for part in text.split("\f")]
    if len(parts) > 1 and max(map(len, parts)) <= _MAX_PRINTED_PAGE_CHARS:
        if not parts[-1].strip():
            parts.pop()
        pages = [Page(number, str(number), part.strip("\n")) for number, part in enumerate(parts, start=1)]
        return Document(source, kind, "page", tuple(pages), len(pages), None, warnings)
    pages = []
    first_line = 1
    for part in parts:
        for passage in line_passages(part, _PASSAGE_CHARS, first_line):
            pages.append(Page(len(pages) + 1, _label(passage.first_line, passage.last_line), passage.text))
        first_line += part.count("\n")
    return Document(source, kind, "lines", tuple(pages), len(pages), None, warnings)


def _label(first: int, last: int) -> str:
    return f"lines {first}-{last}" if last > first else f"line {first}"
