"""What a file is, told by its content and only then by its name."""

import io
import re
import zipfile
from pathlib import Path

from lcdoc.errors import DocumentError

# Formats that would otherwise be read as junk, and what to do with each.
_REFUSED = (
    (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "an old or a locked Office file; save it as .docx, unlocked",
    ),
    (b"{\\rtf", "an RTF file; save it as .docx or .txt"),
    (b"%!PS", "a PostScript file; convert it to PDF, for example with ps2pdf"),
    (b"\x1f\x8b", "gzip-compressed; unpack it first"),
    (b"\xfd7zXZ", "xz-compressed; unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it first"),
    (b"\x89PNG", "a picture; recognise its text first, for example with tesseract"),
    (b"\xff\xd8\xff", "a picture; recognise its text first, for example with tesseract"),
    (b"GIF8", "a picture; recognise its text first, for example with tesseract"),
    (b"II*\x00", "a picture; recognise its text first, for example with tesseract"),
    (b"MM\x00*", "a picture; recognise its text first, for example with tesseract"),
)
_ZIP_CONTENTS = (
    ("word/document.xml", "docx"),
    ("META-INF/container.xml", "epub"),
    ("xl/workbook.xml", "an Excel workbook; save its sheets as .csv"),
    ("ppt/presentation.xml", "a PowerPoint file; save it as .pdf"),
    ("content.xml", "an OpenDocument file; save it as .docx or .pdf"),
)
_HTML = re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html)\b", re.I | re.S)
_HEAD_BYTES = 4096
_ZIP = b"PK\x03\x04"
_PLAIN = ("text", "markdown")
_BY_NAME = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
}


def detect(data: bytes, source: str) -> str:
    """ "pdf", "docx", "epub", "html", "json", "markdown" or "text".

    Raises DocumentError for a format known not to be one of these.
    """
    head = data[:_HEAD_BYTES].removeprefix(b"\xef\xbb\xbf")
    if b"%PDF-" in head[:1024]:
        return "pdf"
    if head.startswith(_ZIP):
        return _detect_archive(data, source)
    for magic, advice in _REFUSED:
        if head.startswith(magic):
            raise DocumentError(f"{source}: {advice}")
    by_name = _BY_NAME.get(Path(source).suffix.lower())
    if by_name is not None:
        return by_name
    if _HTML.match(head):
        return "html"
    return "json" if head.lstrip()[:1] in (b"{", b"[") else "text"


def is_plain(data: bytes, source: str) -> bool:
    """Whether a file is text as it is. An archive isn't looked into for that; else raises as detect does."""
    return not data.startswith(_ZIP) and detect(data, source) in _PLAIN


def _detect_archive(data: bytes, source: str) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        raise DocumentError(f"{source}: a broken zip file (docx and epub are zips); fetch it again") from None
    for name, found in _ZIP_CONTENTS:
        if name in names:
            if found in ("docx", "epub"):
                return found
            raise DocumentError(f"{source}: {found}")
    raise DocumentError(f"{source}: a zip archive that is neither DOCX nor EPUB; unpack it first")
