"""A PDF page's text by pdfium, with superscripts back on their lines."""

import re
import unicodedata
from bisect import bisect_left
from ctypes import byref, c_double
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pypdfium2

# pdfium writes this where it takes a hyphen at a line's end for a cut word, and drops the line end.
_CUT_WORD = "\ufffe"
_MIN_OVERLAP = 0.3
_MAX_GAP = 1.0
_SPACE_GAP = 0.15
_MIN_RISE = 0.15
_MAX_ANGLE = 0.01  # radians
_MAX_RAISED_HEIGHT = 0.9
_LINE_END = re.compile(r" *\r\n")
# A number right behind something, or only pdfium's line end away from it.
_NUMBER = re.compile(r"(?<=\S)(?: *\r\n)?(?P<number>[+\u2212-]?\d+(?:[./]\d+)*)")
_SUPERSCRIPTS = str.maketrans("0123456789+-\u2212", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻")


@dataclass(frozen=True)
class _Box:
    """Where a character stands, in points; its height is the font's, not the ink's."""

    left: float
    bottom: float
    right: float
    top: float
    baseline: float

    @property
    def height(self) -> float:
        return self.top - self.bottom


def page_text(page: "pypdfium2.PdfPage") -> str:
    """The page's text in the order of its content, lines ending in "\n", cut words in "-\n"."""
    textpage = page.get_textpage()
    try:
        text = textpage.get_text_range()
        if page.get_rotation() == 0:  # boxes of turned pages are not turned with them
            text = _mend_raised(text, _Boxes(textpage, text))
    finally:
        textpage.close()
    return text.replace("\r\n", "\n").replace(_CUT_WORD, "-\n").replace("\u00ad\n", "-\n")


class _Boxes:
    """The box of each character by its place in the page's text; None for one that is drawn sideways."""

    def __init__(self, textpage: "pypdfium2.PdfTextPage", text: str) -> None:
        self._textpage = textpage
        # pdfium counts in UTF-16 units, of which these take two.
        self._wide = [index for index, char in enumerate(text) if char > "\uffff"]

    def __getitem__(self, index: int) -> _Box | None:
        import pypdfium2.raw as pdfium

        unit = index + bisect_left(self._wide, index)
        char_index = pdfium.FPDFText_GetCharIndexFromTextIndex(self._textpage, unit)
        rect, x, y = pdfium.FS_RECTF(), c_double(), c_double()
        if (
            char_index < 0
            or not pdfium.FPDFText_GetLooseCharBox(self._textpage, char_index, byref(rect))
            or not pdfium.FPDFText_GetCharOrigin(self._textpage, char_index, byref(x), byref(y))
            or abs(pdfium.FPDFText_GetCharAngle(self._textpage, char_index)) > _MAX_ANGLE
        ):
            return None
        box = _Box(rect.left, rect.bottom, rect.right, rect.top, y.value)
        return box if box.height > 0 else None


def _mend_raised(text: str, boxes: _Boxes) -> str:
    """Put raised and lowered characters back on their lines, raised numbers as superscript digits.

    pdfium breaks the line at most of them, and "10\u2078" must not become "108".
    """
    mended = list(text)
    for line_end in _LINE_END.finditer(text):
        before, after = line_end.start() - 1, line_end.end()
        space = _space_between(boxes[before], boxes[after]) if before >= 0 and after < len(text) else None
        if space is not None:
            has_space = len(line_end[0]) > len("\r\n")
            mended[line_end.start() : after] = [" " if has_space else space] + [""] * (len(line_end[0]) - 1)
    for number in _NUMBER.finditer(text):
        start, end = _raised_span(number, boxes)
        if start == end:
            continue
        raised = text[start:end]
        # Superscripts have no decimal point and no stroke.
        written = f"^{raised}" if "." in raised or "/" in raised else raised.translate(_SUPERSCRIPTS)
        mended[start:end] = [written] + [""] * (end - start - 1)
        if start == number.start("number") > number.start():
            mended[number.start()] = ""  # the space that stood for a line end: raised numbers follow closely
    return "".join(mended)


def _raised_span(number: re.Match[str], boxes: _Boxes) -> tuple[int, int]:
    """Start and end of a number's raised part, such as the "8" of "108"; equal if it has none."""
    start, end = number.span("number")
    base_char = number.string[number.start() - 1]
    if unicodedata.category(base_char) == "Sm" and base_char != "|":
        return end, end  # what stands higher right after "=" or "+" is a fraction's numerator
    base = boxes[number.start() - 1]
    while start < end and not _is_raised(base, boxes[start]):
        base = boxes[start]
        start += 1
    last = start
    while last < end and _is_raised(base, boxes[last]):
        last += 1
    return start, last


def _space_between(box: _Box | None, next_box: _Box | None) -> str | None:
    """What separates two characters on one line, " " or ""; None if they are on two.

    On one line they overlap in height and follow each other to the right within a character's height;
    at a true line end the next character is lower, or to the left.
    """
    if box is None or next_box is None or box.left >= next_box.left:
        return None
    overlap = min(box.top, next_box.top) - max(box.bottom, next_box.bottom)
    gap = (next_box.left - box.right) / max(box.height, next_box.height)
    if overlap <= _MIN_OVERLAP * min(box.height, next_box.height) or not -0.5 < gap < _MAX_GAP:
        return None
    return " " if gap > _SPACE_GAP else ""


def _is_raised(base: _Box | None, box: _Box | None) -> bool:
    return (
        base is not None
        and box is not None
        and box.height < _MAX_RAISED_HEIGHT * base.height
        and box.baseline - base.baseline > _MIN_RISE * base.height
    )
