"""Characters that nobody sees: a reader of the page would not know of them, so no model is given them.

Taken out: controls of text direction, zero-width characters, tags (a second alphabet without shapes) and what only
annotates or varies a character. Joiners stay between letters of scripts that are written with them, and within emoji.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from lcdoc.documents.document import Document, Page

_DIRECTION = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_NO_WIDTH = "\u180e\u200b\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb"
_TAGS = "\U000e0000-\U000e007f\U000e0100-\U000e01ef"
_STRAY_JOINER = r"(?<![^\x00-\x7f])[\u200c\u200d]+|[\u200c\u200d]+(?![^\x00-\x7f])"
_INVISIBLE = re.compile(rf"[{_DIRECTION}{_NO_WIDTH}{_TAGS}]+|{_STRAY_JOINER}")


def without_invisible(document: Document) -> Document:
    """The same document without them, and a warning that counts them."""
    pages = [_plain_page(page) for page in document.pages]
    counts = [len(old.text) - len(new.text) for old, new in zip(document.pages, pages, strict=True)]
    plain = replace(
        document,
        pages=tuple(pages),
        title=document.title and visible(document.title),
        headings=tuple(replace(heading, title=visible(heading.title)) for heading in document.headings),
    )
    if not any(counts):
        return plain
    return replace(plain, warnings=(*document.warnings, _warning(pages, counts)))


def visible(text: str) -> str:
    """The text without characters that nobody sees."""
    return _INVISIBLE.sub("", text)


def _plain_page(page: Page) -> Page:
    return replace(page, label=visible(page.label), text=visible(page.text))


def _warning(pages: Sequence[Page], counts: Sequence[int]) -> str:
    worst, most = max(zip(pages, counts, strict=True), key=lambda pair: pair[1])
    where = f"; {most:,} of them in {worst.label!r}" if len(pages) > 1 else ""
    return f"{sum(counts):,} invisible characters (zero-width, text direction, tags) taken out{where}"
