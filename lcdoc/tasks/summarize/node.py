"""A summary of one part, or of several that follow each other: what is merged, saved and made into sections."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lcdoc.tasks.summarize.draft import Draft
from lcdoc.tasks.summarize.part import Part
from lcdoc.tasks.summarize.sentences import Sentence, choose_sentences, find_evidence

# Who wrote a node's text: the model; the document, because the model wrote nothing of use; or the document, because the
# part is no longer than its summary would be.
MODEL, REPLACED, SHORT = "model", "replaced", "short"

# Sentences of the document that go with a summary into its merging.
PART_QUOTES, MERGED_QUOTES = 2, 4


@dataclass(frozen=True)
class Node:
    """first, last: numbers of its parts, from 0. quotes: sentences of the document, in its order. cut, looped,
    invented: as the model's draft was."""

    first: int
    last: int
    text: str
    quotes: tuple[str, ...]
    origin: str = MODEL
    cut: bool = False
    looped: bool = False
    invented: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, saved: Any) -> "Node":
        """Raises TypeError or KeyError for what is none."""
        return cls(**{**saved, "quotes": tuple(saved["quotes"])})


def part_node(number: int, part: Part, draft: Draft, focus: str | None, words: int) -> Node:
    """What was written of a part; where that is of no use, its own sentences."""
    if not draft.usable:
        return Node(
            number,
            number,
            own_words(part, focus, words),
            quotes_of(part, ""),
            REPLACED,
            invented=draft.invented,
        )
    quotes = quotes_of(part, draft.text)
    return Node(number, number, draft.text, quotes, MODEL, draft.cut, draft.looped, draft.invented)


def short_node(number: int, part: Part) -> Node:
    """The part itself."""
    return Node(number, number, " ".join(part.text.split()), quotes_of(part, ""), SHORT)


def merged_node(children: Sequence[Node], draft: Draft, words: int) -> Node:
    """What was written of neighbours; where that is of no use, the sentences that they quote."""
    first, last = children[0].first, children[-1].last
    quotes = [quote for child in children for quote in child.quotes]
    if not draft.usable:
        text = " ".join(_fitting(quotes or [child.text for child in children], words))
        return Node(first, last, text, _spread(quotes, MERGED_QUOTES), REPLACED, invented=draft.invented)
    sentences = [Sentence(None, quote) for quote in quotes]
    matched = [sentence.text for sentence in find_evidence(draft.text, sentences, MERGED_QUOTES)]
    rest = [quote for quote in quotes if quote not in matched]
    kept = {*matched, *_spread(rest, MERGED_QUOTES - len(matched))}
    in_order = tuple(quote for quote in dict.fromkeys(quotes) if quote in kept)
    return Node(first, last, draft.text, in_order, MODEL, draft.cut, draft.looped, draft.invented)


def own_words(part: Part, focus: str | None, words: int) -> str:
    """Sentences of the part; of one without any, a table perhaps, its first words."""
    chosen = choose_sentences(part.sentences, focus, words)
    return " ".join(sentence.text for sentence in chosen) or " ".join(part.text.split()[:words])


def quotes_of(part: Part, text: str) -> tuple[str, ...]:
    """The sentences that bear a summary out; where none does, those that tell most of the part."""
    found = find_evidence(text, part.sentences, PART_QUOTES) if text else []
    found = found or choose_sentences(part.sentences, None, 0)[:PART_QUOTES]
    return tuple(sentence.text for sentence in found)


def _fitting(sentences: Sequence[str], words: int) -> list[str]:
    """Some from all along, as many as have room; one at least."""
    count = len(sentences)
    while count > 1 and sum(len(text.split()) for text in _spread(sentences, count)) > words:
        count -= 1
    return list(_spread(sentences, count))


def _spread(items: Sequence[str], count: int) -> tuple[str, ...]:
    """So many of them, evenly from first to last."""
    count = min(count, len(items))
    return tuple(items[index * len(items) // count] for index in range(count))
