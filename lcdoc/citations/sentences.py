"""An answer as sentences, each with its quotations and what its footnotes say."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from lcdoc.citations.quotations import Quotation, quotations

CLOSING = r"[\"\u201d\u00bb]"
# A sentence ends behind the place of a whole quotation ('"It is." (p. 3) Then'), at a full stop before a capital, and
# at what ends a paragraph, an item or a heading.
ENDS = re.compile(
    rf"[.!?\u2026]{CLOSING}\s+[(\[][^()\[\]\n]{{1,100}}[)\]]\s+(?=[A-Z\u00c0-\u00de\"\u201c])"
    r"|(?P<stop>[.!?\u2026][\"'\u201d\u2019\u00bb)\]*_]*(?:\[\^?\w{1,8}\])*)\s+"
    r"(?=[\"\u201c\u2018\u00ab(\[*_>]*[A-Z\u00c0-\u00de0-9]|[\"\u201c\u00ab\u201e]\S)"
    r"|\n[ \t]*\n\s*|\n(?=[ \t]*(?:[-*+\u2022]|\d{1,3}[.)])[ \t])|\n(?=[ \t]*[#>|])|^[ \t]*#[^\n]*\n",
    re.MULTILINE,
)
ABBREVIATED = re.compile(
    r"(?:\b(?:pp?|pgs?|Mr|Mrs|Ms|Dr|St|Prof|Rev|Capt|Lt|Gen|Sen|Gov|No|Nos|Vol|Ch|Sec|Fig|Figs|Eq|Inc|Co|Corp|Ltd|vs|cf|"
    r"al|etc|e\.g|i\.e|approx|ca|ed|eds|Jr|Sr|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)|\b[A-Z])\.\Z"
)
# What belongs to the sentence before it: a place in brackets or behind a dash, a footnote's mark.
PLACE = re.compile(
    r"[(\[]\s*(?:see\s+)?(?:pp?\b|pgs?\b|pages?\b|lines?\b|turns?\b|chapter\b|section\b|letter\b|\^?\d{1,3}\])"
    r"|(?:-|--|\u2013|\u2014)\s*(?:[^\s,]{1,80},?\s+)?(?:pp?\.|pages?\s|lines?\s)\s*[\divxlc]",
    re.IGNORECASE,
)
BRACKET = re.compile(r"[(\[][^()\[\]\n]{1,100}[)\]]")
INTRODUCED = re.compile(r"\s*(?:>|[\"\u201c\u00ab\u201e])")
FOOTNOTE = re.compile(
    r"^[ \t]*\[(\^?\w{1,8})\]:?[ \t]+(\S.*(?:\n(?![ \t]*(?:\[\^?\w{1,8}\]|\n|$)).*)*)", re.MULTILINE
)
MARK = re.compile(r"\[(\^?\w{1,8})\]")
NOT_WORDS = re.compile(
    r"https?://\S+|^[ \t]*#+[ \t]*(?:\d+(?:\.\d+)*[.)]?)?|^[ \t]*(?:[-*+\u2022]|\d{1,3}[.)])[ \t]+",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Sentence:
    """start: in the answer; quotes and text are whole, their offsets those of the answer. notes: the footnotes that it
    names. is_note: whether it is a footnote itself."""

    text: str
    start: int
    quotes: tuple[Quotation, ...]
    notes: tuple[str, ...] = ()
    is_note: bool = False

    @property
    def bare(self) -> str:
        """The same text, at the same offsets, with blanks for quotations, footnote marks, links and bullets."""
        text = blanked(
            self.text, ((quote.start - self.start, quote.end - self.start) for quote in self.quotes)
        )
        for pattern in (MARK, NOT_WORDS):
            text = blanked(text, [match.span() for match in pattern.finditer(text)])
        return text


def sentences(answer: str) -> list[Sentence]:
    """All sentences and then all footnotes."""
    notes = {match[1]: match for match in FOOTNOTE.finditer(answer)}
    body = blanked(answer, [match.span() for match in notes.values()])
    quotes = quotations(body)
    found = []
    for start, end in _spans(body, quotes):
        text = body[start:end]
        first, last = (bisect_left(quotes, offset, key=lambda quote: quote.start) for offset in (start, end))
        named = dict.fromkeys(mark[1] for mark in MARK.finditer(text) if mark[1] in notes)
        found.append(
            Sentence(text, start, tuple(quotes[first:last]), tuple(notes[name][2] for name in named))
        )
    for match in notes.values():
        start = match.start(2)
        inside = tuple(
            Quotation(quote.words, quote.start + start, quote.end + start) for quote in quotations(match[2])
        )
        found.append(Sentence(match[2], start, inside, is_note=True))
    return found


def _spans(text: str, quotes: list[Quotation]) -> list[tuple[int, int]]:
    """The sentences' spans, without the white space around them."""
    cuts = [0]
    for match in ENDS.finditer(text):
        if not _joins(text, match, quotes):
            cuts.append(match.end())
    cuts.append(len(text))
    spans = []
    for start, end in zip(cuts, cuts[1:], strict=False):
        piece = text[start:end]
        if piece.strip():
            spans.append((start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())))
    return spans


def _joins(text: str, end: "re.Match[str]", quotes: list[Quotation]) -> bool:
    """Whether what looks like the end of a sentence is none."""
    before, after = text[max(end.start() - 20, 0) : end.end()].rstrip(), text[end.end() : end.end() + 120]
    index = bisect_right(quotes, end.start(), key=lambda quote: quote.start)
    quote_end = quotes[index - 1].end if index else -1
    if quote_end > end.end() or PLACE.match(after) or (quote_end >= end.start() and BRACKET.match(after)):
        return True
    if end["stop"]:
        return ABBREVIATED.search(before) is not None
    return before.endswith(":") and INTRODUCED.match(after) is not None


def blanked(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """The text with blanks in the spans; white space stays, so that lines do."""
    chars = list(text)
    for start, end in spans:
        chars[start:end] = re.sub(r"\S", " ", text[start:end])
    return "".join(chars)
