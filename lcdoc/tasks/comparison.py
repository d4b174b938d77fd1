"""Two documents held against each other: what differs, word for word from both, and an answer over both."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lcdoc.citations.checker import ASKING
from lcdoc.citations.differences import Difference, differences
from lcdoc.citations.passage_index import stems
from lcdoc.citations.source_text import Place
from lcdoc.citations.wording import words_of
from lcdoc.documents.document import Document
from lcdoc.tasks.answer import SCHEMA_VERSION, Answer, Passage

# Words that a question about any change has.
OF_CHANGES = frozenset(
    stems(words_of("changed changes different differ new old between versions documents first second"))
)


@dataclass(frozen=True)
class Change:
    """What one side says and the other doesn't. before: None for what was added; after: None for what was taken out.
    share, of either: the question's words that it has."""

    before: Passage | None
    after: Passage | None


@dataclass(frozen=True)
class Comparison:
    """num_changes: all there are; changes: those that bear on the question most. answer: None where nothing differs."""

    before: str
    after: str
    question: str
    num_changes: int
    changes: tuple[Change, ...]
    answer: Answer | None
    schema_version: int = field(default=SCHEMA_VERSION, kw_only=True)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def changes(before: Document, after: Document, question: str) -> list[Change]:
    """Those that share most words with the question first, else in the order of the documents."""
    asked = {
        stem
        for word in words_of(question)
        if not ASKING.fullmatch(word)
        for stem in stems([word])
        if stem not in OF_CHANGES
    }
    found = [_change(difference, asked) for difference in differences(before, after)]
    return sorted(found, key=lambda change: -_share(change))


def _change(difference: Difference, asked: set[str]) -> Change:
    return Change(_passage(difference.before, asked), _passage(difference.after, asked))


def _passage(place: Place | None, asked: set[str]) -> Passage | None:
    if place is None:
        return None
    page, document = place.first, place.document
    share = _overlap(words_of(place.words), asked)
    return Passage(document.source, page.number, page.label, document.unit, place.words, share)


def _overlap(words: Sequence[str], asked: set[str]) -> float:
    return len(asked & set(stems(words))) / len(asked) if asked else 0.0


def _share(change: Change) -> float:
    return max(side.share for side in (change.before, change.after) if side is not None)
