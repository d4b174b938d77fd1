"""What every reader returns: a document as an ordered list of pages, with nothing left out silently."""

from dataclasses import dataclass

# Page.unread of a page that OCR would make readable.
SCAN = "scan: picture without text"


@dataclass(frozen=True)
class Page:
    """One page, section or run of lines.

    number: physical position in the file, from 1.
    label: what the page calls itself ("xii", "Chapter 3", "lines 40-81").
    text: plain text, NFC, "\\n" line ends; empty when unread.
    unread: why the page's text is missing ("scan: picture without text"), or None.
    warnings: what went wrong while reading it, one short sentence each.
    """

    number: int
    label: str
    text: str
    unread: str | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Heading:
    """An entry of a document's own outline. page: physical position in the file, from 1."""

    title: str
    page: int


@dataclass(frozen=True)
class Document:
    """A whole file, in reading order.

    source: the name the user gave ("report.pdf", "-").
    format: "pdf", "text", "markdown", "html", "docx", "epub" or "transcript".
    unit: what a page is called in this format: "page", "section", "chapter", "lines" or "turns".
    pages: those asked for; num_pages counts all in the file.
    headings: the outline that a PDF brings with it, its highest level that divides it.
    """

    source: str
    format: str
    unit: str
    pages: tuple[Page, ...]
    num_pages: int
    title: str | None = None
    warnings: tuple[str, ...] = ()
    headings: tuple[Heading, ...] = ()

    @property
    def unread(self) -> tuple[Page, ...]:
        return tuple(page for page in self.pages if page.unread is not None)

    @property
    def num_chars(self) -> int:
        return sum(len(page.text) for page in self.pages)
