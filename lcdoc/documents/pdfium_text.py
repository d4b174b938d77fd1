"""A PDF page's text by pdfium, with superscripts back on their lines."""

import ctypes
import re
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
_RAISED = re.compile(r"[+\u2212-]?\d+")
_SUPERSCRIPTS = str.maketrans("0123456789+-\u2212", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻")


@dataclass(frozen=True)
class _Box:
    """Where a character stands, in points; its height is the font's, not the ink's."""

    left: float
    bottom: float
    right: float
    top: float

    @property
    def height(self) -> float:
        return self.top - self.bottom


def page_text(page: "pypdfium2.PdfPage") -> str:
    """The page's text in the order of its content, lines ending in "\\n", cut words in "-\\n"."""
    textpage = page.get_textpage()
    try:
        text = textpage.get_text_range()
        if page.get_rotation() == 0:  # boxes of turned pages are not turned with them
            text = _join_superscripts(textpage, text)
    finally:
        textpage.close()
    return text.replace("\r\n", "\n").replace(_CUT_WORD, "-\n").replace("\u00ad\n", "-\n")


def _join_superscripts(textpage: "pypdfium2.PdfTextPage", text: str) -> str:
    """Take out the line ends that pdfium sets around a raised or lowered character.

    Such a line end stands between two characters that overlap in height and follow each other to the
    right within a character's height; at a true line end the next character is lower, or to the left.
    Raised digits become superscript digits, for "10\u2078" is not "108".
    """
    joined: list[str] = []
    start = 0
    unit = 0  # where `last` is in UTF-16 units, in which pdfium counts
    last = 0
    while (line_end := text.find("\r\n", last)) >= 0:
        before = text[last:line_end].rstrip(" ")
        num_spaces = line_end - last - len(before)
        unit += _num_units(text[last:line_end])
        box = _box(textpage, unit - num_spaces - 1) if before else None
        next_box = _box(textpage, unit + 2)
        unit += 2
        last = line_end + 2
        if box is None or next_box is None or not _on_one_line(box, next_box):
            continue
        space = " " if num_spaces or _gap(box, next_box) > _SPACE_GAP else ""
        joined += [text[start : line_end - num_spaces], space]
        start = last
        raised = _RAISED.match(text, last)
        if raised is not None and all(
            _is_raised(box, _box(textpage, unit + index)) for index in range(len(raised[0]))
        ):
            joined[-1] = raised[0].translate(_SUPERSCRIPTS)  # a raised number belongs to its base
            start = raised.end()
    joined.append(text[start:])
    return "".join(joined)


def _gap(box: _Box, next_box: _Box) -> float:
    """The space between two characters, in heights of the larger."""
    return (next_box.left - box.right) / max(box.height, next_box.height)


def _on_one_line(box: _Box, next_box: _Box) -> bool:
    overlap = min(box.top, next_box.top) - max(box.bottom, next_box.bottom)
    return (
        box.left < next_box.left
        and overlap > _MIN_OVERLAP * min(box.height, next_box.height)
        and -0.5 < _gap(box, next_box) < _MAX_GAP
    )


def _is_raised(box: _Box, next_box: _Box | None) -> bool:
    return (
        next_box is not None
        and next_box.height < 0.9 * box.height
        and next_box.bottom - box.bottom > _MIN_RISE * box.height
    )


def _num_units(text: str) -> int:
    return len(text) + sum(char > "\uffff" for char in text)


def _box(textpage: "pypdfium2.PdfTextPage", unit: int) -> _Box | None:
    import pypdfium2.raw as pdfium

    index = pdfium.FPDFText_GetCharIndexFromTextIndex(textpage, unit)
    rect = pdfium.FS_RECTF()
    if index < 0 or not pdfium.FPDFText_GetLooseCharBox(textpage, index, ctypes.byref(rect)):
        return None
    box = _Box(rect.left, rect.bottom, rect.right, rect.top)
    return box if box.height > 0 else None
