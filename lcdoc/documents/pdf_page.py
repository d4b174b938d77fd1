"""One page of a PDF: the better of two readings, or why there is none."""

from ctypes import byref, c_float
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lcdoc.documents.cleaning import clean_text
from lcdoc.documents.damage import MAX_DAMAGE, damage, is_damaged, is_right_to_left
from lcdoc.documents.document import SCAN
from lcdoc.documents.limits import Limits
from lcdoc.documents.pdfium_text import page_text
from lcdoc.documents.pypdf_pages import PypdfPages

if TYPE_CHECKING:
    import pypdfium2

_DRAWING = "drawing: shapes without text"
_MIN_DRAWING_SHAPES = 50
_MIN_PICTURE_SHARE = 0.3
_WHOLE_PAGE_SHARE = 0.9
_FEW_CHARS = 100
_UNREADABLE_DAMAGE = 0.5
_MIN_LETTERS_KEPT = 0.7


@dataclass(frozen=True)
class RawPage:
    """A page before its document as a whole has been looked at; its fields are those of Page."""

    text: str = ""
    unread: str | None = None
    warnings: tuple[str, ...] = ()


def read_page(
    file: "pypdfium2.PdfDocument | None", by_pypdf: PypdfPages, index: int, limits: Limits
) -> RawPage:
    """Read by pdfium; by pypdf where pdfium fails, is damaged, or turns right-to-left words around.

    file: None when pdfium cannot open it. index: from 0.
    """
    oversized = by_pypdf.oversized(index)
    if oversized is not None:
        return RawPage(unread=oversized)
    page = None if file is None else _load(file, index)
    try:
        text = "" if page is None else page_text(page)
        if page is None or is_damaged(text) or is_right_to_left(text):
            other, failure = by_pypdf.text(index)
            if failure is None and _is_better(other, text):
                text = other
            elif page is None:
                return RawPage(unread=f"broken page: {failure or 'no text found'}")
        return _judge(text, page, limits)
    finally:
        if page is not None:
            page.close()


def _load(file: "pypdfium2.PdfDocument", index: int) -> "pypdfium2.PdfPage | None":
    """The page with what is written on it in form fields and text boxes, or None if it is broken."""
    import pypdfium2
    import pypdfium2.raw as pdfium

    try:
        page = file[index]
        if not _has_written_annotations(page):
            return page
        pdfium.FPDFPage_Flatten(page, pdfium.FLAT_NORMALDISPLAY)
        page.close()  # a flattened page shows its new text only when loaded anew
        return file[index]
    except pypdfium2.PdfiumError:
        return None


def _has_written_annotations(page: "pypdfium2.PdfPage") -> bool:
    import pypdfium2.raw as pdfium

    for index in range(pdfium.FPDFPage_GetAnnotCount(page)):
        annotation = pdfium.FPDFPage_GetAnnot(page, index)
        subtype = pdfium.FPDFAnnot_GetSubtype(annotation)
        pdfium.FPDFPage_CloseAnnot(annotation)
        if subtype in (pdfium.FPDF_ANNOT_WIDGET, pdfium.FPDF_ANNOT_FREETEXT):
            return True
    return False


def _is_better(other: str, text: str) -> bool:
    """Whether pypdf's text is no more damaged and about as long as pdfium's."""
    return damage(other) <= damage(text) and _num_letters(other) >= _MIN_LETTERS_KEPT * _num_letters(text)


def _judge(text: str, page: "pypdfium2.PdfPage | None", limits: Limits) -> RawPage:
    share = damage(text)
    text = clean_text(text)
    if not text.strip():
        return RawPage(unread=None if page is None else _why_textless(page))
    if len(text) > limits.page_chars:
        return RawPage(unread=f"{len(text):,} characters, more than the limit of {limits.page_chars:,}")
    if share > _UNREADABLE_DAMAGE:
        return RawPage(unread=f"damaged text: {share:.0%} of its characters cannot be read; run OCR on it")
    warnings = []
    if share > MAX_DAMAGE:
        warnings.append(f"damaged text: {share:.0%} of its characters cannot be read")
    covered = 0.0 if page is None else _picture_share(page)
    # A picture of the whole page under plenty of text is a scan that OCR has read already.
    if covered > _MIN_PICTURE_SHARE and (covered < _WHOLE_PAGE_SHARE or len(text) < _FEW_CHARS):
        warnings.append(f"a picture fills {covered:.0%} of the page and is not read")
    return RawPage(text, warnings=tuple(warnings))


def _why_textless(page: "pypdfium2.PdfPage") -> str | None:
    """Why a page without text counts as unread, or None when it is simply empty."""
    import pypdfium2.raw as pdfium

    kinds = [item.type for item in page.get_objects(max_depth=5)]
    if pdfium.FPDF_PAGEOBJ_IMAGE in kinds:
        return SCAN
    return _DRAWING if kinds.count(pdfium.FPDF_PAGEOBJ_PATH) >= _MIN_DRAWING_SHAPES else None


def _picture_share(page: "pypdfium2.PdfPage") -> float:
    """The part of the page that its largest picture covers, at most 1."""
    import pypdfium2.raw as pdfium

    largest = 0.0
    # Straight through the C functions: drawings have thousands of objects.
    for index in range(pdfium.FPDFPage_CountObjects(page)):
        item = pdfium.FPDFPage_GetObject(page, index)
        if pdfium.FPDFPageObj_GetType(item) == pdfium.FPDF_PAGEOBJ_IMAGE:
            sides = [c_float() for _ in range(4)]
            if pdfium.FPDFPageObj_GetBounds(item, *map(byref, sides)):
                left, bottom, right, top = (side.value for side in sides)
                largest = max(largest, (right - left) * (top - bottom))
    width, height = page.get_size()
    return min(1.0, largest / (width * height)) if width * height else 0.0


def _num_letters(text: str) -> int:
    return sum(char.isalpha() for char in text)
