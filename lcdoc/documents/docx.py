"""Word documents: mammoth makes HTML of them, and the HTML is read as such."""

import io
import re
import zipfile

from lcdoc.documents.archive import Archive
from lcdoc.documents.cleaning import squeeze
from lcdoc.documents.document import Document
from lcdoc.documents.html import render_all
from lcdoc.documents.limits import Limits
from lcdoc.documents.sections import split_at_headings
from lcdoc.errors import DocumentError

_TITLE = "{http://purl.org/dc/elements/1.1/}title"
_IGNORED_ELEMENT = re.compile(r"An unrecognised element was ignored: (?:\{[^}]*\})?(\w+)")
_BODY = "word/document.xml"
_FORMULA = re.compile(rb"<m:oMath(?:\s[^>]*)?>.*?</m:oMath>", re.DOTALL)
_TAG = re.compile(rb"<[^>]*>")
# Enough of a formula's structure to tell a/b from ab and x^2 from x2.
_FORMULA_MARKS = (
    (b"</m:num>", b"/"),
    (b"<m:sup>", b"^("),
    (b"</m:sup>", b")"),
    (b"<m:sub>", b"_("),
    (b"</m:sub>", b")"),
    (b"<m:rad>", b"\xe2\x88\x9a("),
    (b"</m:rad>", b")"),
)
_STYLES = "p[style-name='Title'] => h1:fresh\np[style-name='Subtitle'] => p:fresh"


def read_docx(data: bytes, source: str, limits: Limits) -> Document:
    """Sections by heading; tables kept; what mammoth leaves out is named in the warnings."""
    import mammoth

    archive = Archive(data, source, limits)
    for name in sorted(archive.names):
        if name.endswith((".xml", ".rels")):
            archive.read_markup(name)
    try:
        result = mammoth.convert_to_html(
            io.BytesIO(_with_plain_formulas(data, archive)),
            style_map=_STYLES,
            convert_image=mammoth.images.img_element(lambda image: {"src": ""}),
        )
    except RecursionError:
        raise DocumentError(
            f"{source}: nested too deeply to be read; save it anew in a word processor"
        ) from None
    except Exception as failure:  # mammoth raises anything on XML that is not Word's
        raise DocumentError(f"{source}: a damaged Word document ({squeeze(str(failure))[:80]})") from None
    pages = split_at_headings(render_all(result.value, source))
    ignored = {found[1] for note in result.messages if (found := _IGNORED_ELEMENT.match(note.message))}
    warnings = tuple(f"left out: {name} elements, which hold no plain text" for name in sorted(ignored))
    return Document(source, "docx", "section", tuple(pages), len(pages), _title(archive), warnings)


def _with_plain_formulas(data: bytes, archive: Archive) -> bytes:
    """The same file with its formulas as runs of text, since mammoth drops them."""
    body = archive.read(_BODY)
    if b"<m:oMath" not in body:
        return data
    body = _FORMULA.sub(_plain_formula, body)
    rewritten = io.BytesIO()
    with zipfile.ZipFile(rewritten, "w") as target:
        for name in sorted(archive.names):
            if not name.endswith("/"):
                target.writestr(name, body if name == _BODY else archive.read(name))
    return rewritten.getvalue()


def _plain_formula(match: re.Match[bytes]) -> bytes:
    formula = match[0]
    for tag, mark in _FORMULA_MARKS:
        formula = formula.replace(tag, mark)
    return b'<w:r><w:t xml:space="preserve">' + _TAG.sub(b"", formula) + b"</w:t></w:r>"


def _title(archive: Archive) -> str | None:
    if "docProps/core.xml" not in archive.names:
        return None
    try:
        root = archive.read_xml("docProps/core.xml")
    except DocumentError:  # damaged: the text is whole without it
        return None
    return squeeze(root.findtext(_TITLE) or "") or None
