"""The quotations in a text: what stands between quote marks, or in a quoted paragraph of Markdown."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

# Shorter quotes match by chance.
MIN_QUOTE_CHARS = 12

# Of straight marks one opens before a word and closes after it, so that inches (12") are none. No quotation goes on
# over a blank line.
QUOTED = re.compile(
    r"\u201c(?P<curly>[^\u201c\u201d]+)\u201d"
    r"|\u201e(?P<low>[^\u201e\u201c\u201d]+)[\u201c\u201d]"
    r"|\u00ab(?P<angle>[^\u00ab\u00bb]+)\u00bb"
    r"|(?<![\w\"])\"(?=\S)(?P<straight>[^\"]*)(?<=\S)\"(?!\w)"
    r"|(?<!\w)\u2018(?P<single>(?:[^\u2018\u2019\n]|\u2019(?=\w))+)\u2019(?!\w)"
)
BLOCK = re.compile(r"^[ ]{0,3}>[ ]?(.*(?:\n[ ]{0,3}>.*)*)", re.MULTILINE)
# At the end of a quoted paragraph: "(p. 12)", "-- Melville, p. 12".
ATTRIBUTION = re.compile(r"\s*(?:[(\[][^()\[\]\n]{1,100}[)\]][.\s]*|\n[ ]{0,3}>\s*[-\u2013\u2014].{1,200})\Z")
BLANK_LINE = re.compile(r"\n\s*\n")


@dataclass(frozen=True)
class Quotation:
    """start and end: of the words, with their marks, in the answer."""

    words: str
    start: int
    end: int


def quotations(text: str) -> list[Quotation]:
    """All that have MIN_QUOTE_CHARS or more between their marks, in order."""
    found = [quotation for quotation in _marked(text) if len(quotation.words) >= MIN_QUOTE_CHARS]
    for block in BLOCK.finditer(text):
        end = block.start() + len(ATTRIBUTION.sub("", block[0]))
        words = re.sub(r"^[ ]{0,3}>[ ]?", "", text[block.start() : end], flags=re.MULTILINE).strip()
        inside = any(block.start() <= other.start < block.end() for other in found)
        if len(words) >= MIN_QUOTE_CHARS and not inside:
            found.append(Quotation(words, block.start(), end))
    return sorted(found, key=lambda quotation: quotation.start)


def _marked(text: str) -> Iterator[Quotation]:
    position = 0
    while match := QUOTED.search(text, position):
        words = match[match.lastgroup or 0]
        blank = BLANK_LINE.search(match[0])
        if blank:
            position = match.start() + blank.end()
            continue
        yield Quotation(words.strip(), match.start(), match.end())
        position = match.end()
