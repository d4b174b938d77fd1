"""From a name on the command line to a document."""

from collections import Counter
from dataclasses import replace
from importlib import import_module

from lcdoc.documents.document import SCAN, Document
from lcdoc.documents.invisible import without_invisible
from lcdoc.documents.kind import detect, is_plain
from lcdoc.documents.limits import LIMITS, Limits
from lcdoc.documents.page_range import PageRange, parse_page_range
from lcdoc.documents.source import read_source
from lcdoc.errors import DocumentError

_PDF, _PDF_PARSERS = b"%PDF-", ("pypdf", "pypdfium2")


def load_document(
    source: str, *, password: str | None = None, pages: str | None = None, limits: Limits = LIMITS
) -> Document:
    """Read a file, or standard input for "-".

    password: for PDFs; the empty one is tried first. pages: a range such as "12-40,50,60-" of physical
    pages (or sections, chapters, passages), from 1; the text of a page does not depend on it.
    Raises UsageError for a range that is none, and DocumentError for what cannot be read.
    """
    wanted = None if pages is None else parse_page_range(pages)
    data = read_source(source, limits)
    document = _parse(data, source, password, limits)
    if document.num_chars > limits.document_chars:
        raise DocumentError(
            f"{source}: {document.num_chars:,} characters, more than the limit of "
            f"{limits.document_chars:,}; split the file"
        )
    if wanted is not None:
        document = _select(document, wanted)
    if not any(page.text.strip() for page in document.pages):
        raise DocumentError(_nothing_to_read(document))
    return document


def _parse(data: bytes, source: str, password: str | None, limits: Limits) -> Document:
    """Here where it is plain text; every other format has parsers, and they work in a process of their own."""
    if is_plain(data, source):
        return parse(data, source, password, limits)
    from lcdoc.documents.apart import parse_apart

    if data.startswith(_PDF):  # several files' children then share what is imported here
        for name in _PDF_PARSERS:
            import_module(name)
    return parse_apart(parse, data, source, password, limits)


def parse(data: bytes, source: str, password: str | None, limits: Limits) -> Document:
    """A file's bytes as a document, in this process."""
    return without_invisible(_read(data, source, password, limits))


def _read(data: bytes, source: str, password: str | None, limits: Limits) -> Document:
    # Each reader is imported with its parsers only when a file needs it.
    kind = detect(data, source)
    if kind == "pdf":
        from lcdoc.documents.pdf import read_pdf

        return read_pdf(data, source, password, limits)
    if kind == "docx":
        from lcdoc.documents.docx import read_docx

        return read_docx(data, source, limits)
    if kind == "epub":
        from lcdoc.documents.epub import read_epub

        return read_epub(data, source, limits)
    if kind == "html":
        from lcdoc.documents.html import read_html

        return read_html(data, source)
    if kind == "json":
        from lcdoc.documents.transcript import read_json

        return read_json(data, source, limits)
    from lcdoc.documents.text import read_text

    return read_text(data, source, kind)


def _select(document: Document, wanted: PageRange) -> Document:
    numbers = wanted.numbers(document.num_pages, document.source)
    return replace(document, pages=tuple(document.pages[number - 1] for number in numbers))


def _nothing_to_read(document: Document) -> str:
    """Why a document as a whole is refused, from why its pages are."""
    name = document.source
    num_pages = len(document.pages)
    if num_pages == 0:
        return f"{name}: no text in it"
    reasons = Counter(page.unread for page in document.pages if page.unread is not None)
    if not reasons:
        return f"{name}: {num_pages} of {num_pages} {_plural(document)} are empty"
    reason, count = reasons.most_common(1)[0]
    if reason == SCAN:
        advice = "are scans without text; run OCR first, for example ocrmypdf"
        return f"{name}: {count} of {num_pages} {_plural(document)} {advice}"
    return f"{name}: no page can be read; {count} of {num_pages} {_plural(document)}: {reason}"


def _plural(document: Document) -> str:
    return document.unit if document.unit.endswith("s") else f"{document.unit}s"
