"""PDF: text by pdfium, labels and limits by pypdf, and pypdf's text where pdfium's is worse."""

from typing import TYPE_CHECKING

from lcdoc.documents.cleaning import clean_text, squeeze
from lcdoc.documents.document import Document, Heading, Page
from lcdoc.documents.hyphens import rejoin_hyphens
from lcdoc.documents.limits import Limits
from lcdoc.documents.pdf_page import read_page
from lcdoc.documents.pypdf_pages import PypdfPages, quiet_pypdf
from lcdoc.documents.running_heads import remove_running_heads
from lcdoc.errors import DocumentError

if TYPE_CHECKING:
    import pypdfium2


def read_pdf(data: bytes, source: str, password: str | None, limits: Limits) -> Document:
    """All pages of a PDF; the empty password is tried first.

    Raises DocumentError when the file is locked, broken, without pages, or has too many.
    """
    with quiet_pypdf() as remarks:
        file, opened_with = _open(data, source, password)
        by_pypdf = PypdfPages(data, opened_with, limits)
        warnings = [f"damaged file, repaired while reading: {remark}" for remark in remarks[:1]]
        num_pages = by_pypdf.num_pages if file is None else len(file)
        if file is None and by_pypdf.failure is not None:
            raise DocumentError(
                f"{source}: broken PDF ({by_pypdf.failure}); repair it, for example with `mutool clean`"
            )
        if num_pages == 0:
            raise DocumentError(f"{source}: a PDF without pages")
        if num_pages > limits.pages:
            raise DocumentError(
                f"{source}: {num_pages:,} pages, more than the limit of {limits.pages:,}; split the file"
            )
        raw_pages = [read_page(file, by_pypdf, index, limits) for index in range(num_pages)]
    title = "" if file is None else squeeze(clean_text(file.get_metadata_value("Title")))
    texts, printed = remove_running_heads([page.text for page in raw_pages])
    labels = _labels(by_pypdf.labels, printed, num_pages)
    pages = tuple(
        Page(index + 1, labels[index], text.strip("\n"), raw.unread, raw.warnings)
        for index, (raw, text) in enumerate(zip(raw_pages, rejoin_hyphens(texts), strict=True))
    )
    headings = tuple(
        Heading(name, index + 1)
        for title_text, index in by_pypdf.outline
        if (name := squeeze(clean_text(title_text))) and index < num_pages
    )
    return Document(source, "pdf", "page", pages, num_pages, title or None, tuple(warnings), headings)


def _open(data: bytes, source: str, password: str | None) -> "tuple[pypdfium2.PdfDocument | None, str]":
    """The file by pdfium, or None when pdfium cannot, and the password that opens it."""
    import pypdfium2
    import pypdfium2.raw as pdfium

    for candidate in ("", password):
        if candidate is None:
            continue
        try:
            return pypdfium2.PdfDocument(data, password=candidate or None), candidate
        except pypdfium2.PdfiumError as failure:
            if failure.err_code != pdfium.FPDF_ERR_PASSWORD:
                return None, candidate
    known = "locked with a password; give it with --password" if password is None else "wrong --password"
    raise DocumentError(f"{source}: {known}")


def _labels(declared: list[str] | None, printed: dict[int, str], num_pages: int) -> list[str]:
    """What the pages call themselves: the PDF's own labels, else the number printed on them, else 1..N.

    Printed numbers name pages only when every page gets one, so that none is called by another's number.
    """
    if declared is not None and len(declared) == num_pages:
        return [label or str(index + 1) for index, label in enumerate(declared)]
    offset = next((int(number) - index for index, number in printed.items()), 1)
    return [str(index + max(offset, 1)) for index in range(num_pages)]
