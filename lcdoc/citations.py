"""Finding an answer's words in the document, so that each quote names its page."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lcdoc.documents.document import Document, Page

# Shorter quotes match by chance.
MIN_QUOTE_CHARS = 12

QUOTED = re.compile(r"[\"\u201c\u00ab]([^\"\u201c\u201d\u00ab\u00bb]+)[\"\u201d\u00bb]")
SENTENCE = re.compile(r"[^.!?\n]+(?:[.!?](?!\s|$)[^.!?\n]*)*")


@dataclass(frozen=True)
class QuoteMatch:
    """Where words of an answer stand. document and page are None for a quote found nowhere.

    status: "verified" (to the letter), "normalised" (but for quote marks, hyphens, case of spaces and
    compatibility forms) or "unverified".
    """

    quote: str
    document: Document | None
    page: Page | None
    status: str


def find_quotes(answer: str, documents: Iterable[Document]) -> list[QuoteMatch]:
    """Looks up every quotation of the answer, and every sentence it took over from the document.

    Quotations found nowhere are returned as unverified; sentences in the answer's own words are not returned.
    """
    pages = [(document, page) for document in documents for page in document.pages if page.text]
    normal_pages: list[str] = []
    matches = []
    for words, is_quotation in _candidates(answer):
        found = next((pair for pair in pages if words in pair[1].text), None)
        status = "verified"
        if found is None:
            normal_pages = normal_pages or [_normalised(page.text) for _, page in pages]
            wanted = _normalised(words)
            found = next(
                (pair for pair, text in zip(pages, normal_pages, strict=True) if wanted in text), None
            )
            status = "normalised"
        if found is not None:
            matches.append(QuoteMatch(words, *found, status))
        elif is_quotation:
            matches.append(QuoteMatch(words, None, None, "unverified"))
    return matches


def _candidates(answer: str) -> Iterator[tuple[str, bool]]:
    seen = set()
    quotations = [(match[1].strip(), True) for match in QUOTED.finditer(answer)]
    sentences = [(match[0].strip(" \t-*"), False) for match in SENTENCE.finditer(answer)]
    for words, is_quotation in quotations + sentences:
        if len(words) >= MIN_QUOTE_CHARS and words not in seen:
            seen.add(words)
            yield words, is_quotation


def _normalised(text: str) -> str:
    text = unicodedata.normalize("NFKC", text)
    text = text.translate(QUOTES_AND_HYPHENS)
    return " ".join(text.split())


QUOTES_AND_HYPHENS = str.maketrans(
    {
        **dict.fromkeys("\u2018\u2019\u201b\u2032", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u2033\u00ab\u00bb", '"'),
    }
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-")
    | {"\u00ad": None}
)
