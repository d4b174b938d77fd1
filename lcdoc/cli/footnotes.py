"""Citations as footnotes: under an answer on the terminal, and in Markdown."""

import re
import textwrap
from collections.abc import Sequence

from lcdoc.cli.sanitize import clean_line
from lcdoc.tasks.answer import Citation, Passage

MARKUP = re.compile(r"([\\`*_\[\]<>#!|~])")
MAX_PASSAGE_CHARS = 200
CLOSING_MARKS = '"\u201d\u00bb\u201c'


def place_name(source: str, unit: str | None, page: int, last_page: int | None, label: str) -> str:
    """ "report.pdf p. 12 (label xii)", "book.txt lines 40-81", "paper.docx (Abstract)"."""
    if unit == "page":
        pages = f"pp. {page}-{last_page}" if last_page and last_page > page else f"p. {page}"
        return f"{source} {pages}" + ("" if label == str(page) else f" (label {label})")
    return f"{source} {label}" if unit in ("lines", "turns") else f"{source} ({label})"


def footnote(citation: Citation) -> str:
    """One line without its number: where the words stand, and the source's own where they differ."""
    flags = f" [{'; '.join(citation.flags)}]" if citation.flags else ""
    if citation.source is None or citation.page is None or citation.label is None:
        return clean_line(f'not found in the document: "{citation.quote}"{flags}')
    place = place_name(citation.source, citation.unit, citation.page, citation.last_page, citation.label)
    words = citation.quote if citation.status == "verified" else citation.source_words or ""
    how = " (repaired)" if citation.status == "repaired" else ""
    if citation.confidence is not None:
        words = textwrap.shorten(words, MAX_PASSAGE_CHARS, placeholder=" ...")
        how = f" (by attention, confidence {citation.confidence:.2f})"
    return clean_line(f'{place}: "{words}"{how}{flags}')


def footnotes(citations: Sequence[Citation], first: int = 1) -> list[str]:
    """Numbered "[1] ..."."""
    return [f"[{number}] {footnote(citation)}" for number, citation in enumerate(citations, start=first)]


def passage_lines(passages: Sequence[Passage]) -> list[str]:
    """Where each passage stands, and how it begins."""
    lines = []
    for passage in passages:
        place = place_name(passage.source, passage.unit, passage.page, None, passage.label)
        words = textwrap.shorten(passage.words, MAX_PASSAGE_CHARS, placeholder=" ...")
        lines.append(clean_line(f'{place}: "{words}"'))
    return lines


def markdown_footnotes(citations: Sequence[Citation], first: int = 1) -> list[str]:
    """Numbered "[^1]: ...", with the source's words as plain text whatever they hold."""
    notes = [MARKUP.sub(r"\\\1", footnote(citation)) for citation in citations]
    return [f"[^{number}]: {note}" for number, note in enumerate(notes, start=first)]


def marked(answer: str, citations: Sequence[Citation], first: int = 1) -> str:
    """The answer with "[^1]" behind each quotation and each sentence that is the source's own."""
    marks: dict[int, str] = {}
    for number, citation in enumerate(citations, start=first):
        found = answer.find(citation.quote)
        if found >= 0:
            end = found + len(citation.quote)
            end += answer[end : end + 1] in CLOSING_MARKS and end < len(answer)
            marks[end] = f"{marks.get(end, '')}[^{number}]"
    for end in sorted(marks, reverse=True):
        answer = answer[:end] + marks[end] + answer[end:]
    return answer
