"""Bytes to text: BOM, then what the file declares, then UTF-8, then a guess that is told."""

import codecs
import re

from lcdoc.errors import DocumentError

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose BOM it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_DECLARED = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?\s*([A-Za-z0-9_.:-]+)""")
_HEAD_BYTES = 2048
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_MAX_CONTROL_SHARE = 0.02
_MAX_BROKEN_SHARE = 0.1
_MIN_WIDE_SHARE = 0.1

# Letters and signs of Western European text. Single-byte guesses often take such a text for Central
# European, whose code page shares most of these bytes.
_WESTERN = frozenset("äöüßÄÖÜéèêëàâçîïôûùœæñáíóúãåøÅØÉÈÀÇÑ€£§°«»¿¡–—‘’“”„…•©®·ªº²³½ \u00a0")


def decode(data: bytes, source: str, *, markup: bool = False) -> tuple[str, tuple[str, ...]]:
    """The text, without its BOM, and a warning for every guess.

    markup: obey an encoding named in the head of HTML or XML.
    Raises DocumentError for bytes that are no text.
    """
    text, warnings = _decode(data, source, markup)
    if len(_CONTROLS.findall(text)) > _MAX_CONTROL_SHARE * len(text):
        raise DocumentError(_binary_message(source))
    return text, warnings


def _decode(data: bytes, source: str, markup: bool) -> tuple[str, tuple[str, ...]]:
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            text = data[len(bom) :].decode(encoding, errors="replace")
            return text, _replaced(text.count("\ufffd"), encoding.upper())
    if data.count(0) > _MIN_WIDE_SHARE * len(data):
        return _guess(data, source)  # UTF-16 or 32 without a BOM; ASCII in it would pass for UTF-8
    if markup and (declared := _declared(data)) is not None:
        try:
            return data.decode(declared), ()
        except UnicodeDecodeError:
            pass  # declared wrongly; the rest of the chain says what it was read as
    try:
        return data.decode("utf-8"), ()
    except UnicodeDecodeError:
        pass
    # A log with a few broken bytes is still UTF-8: guessing would garble all its good letters.
    text = data.decode("utf-8", errors="replace")
    num_broken = text.count("\ufffd")
    num_good = sum(1 for char in text if char > "\x7f") - num_broken
    if num_broken < _MAX_BROKEN_SHARE * num_good:
        return text, _replaced(num_broken, "UTF-8")
    return _guess(data, source)


def _guess(data: bytes, source: str) -> tuple[str, tuple[str, ...]]:
    import charset_normalizer

    western = None if 0 in data else _western(data)
    if western is not None:
        return western, ("encoding guessed as cp1252 (Western European)",)
    best = charset_normalizer.from_bytes(data).best()
    if best is None:
        raise DocumentError(_binary_message(source))
    return str(best), (f"encoding guessed as {best.encoding}",)


def _western(data: bytes) -> str | None:
    """The bytes as cp1252 if that gives ordinary Western European text, else None."""
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        return None
    foreign = [char for char in text if char > "\x7f"]
    return text if _WESTERN.issuperset(foreign) and len(foreign) < 0.3 * len(text) else None


def _declared(data: bytes) -> str | None:
    match = _DECLARED.search(data[:_HEAD_BYTES])
    if match is None:
        return None
    try:
        # Browsers read "latin1" as cp1252, and so did whoever wrote the quotes in it.
        name = codecs.lookup(match[1].decode("ascii")).name
    except LookupError:
        return None
    return "cp1252" if name == "iso8859-1" else name


def _replaced(count: int, encoding: str) -> tuple[str, ...]:
    return (f"{count} bytes were not valid {encoding} and are shown as \ufffd",) if count else ()


def _binary_message(source: str) -> str:
    return f"{source}: no text, only binary data; lcdoc reads PDF, text, HTML, DOCX, EPUB and JSON"
