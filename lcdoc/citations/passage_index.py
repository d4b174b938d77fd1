"""Passages of documents, found by the words that they share with a statement, rare ones above all (BM25)."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lcdoc.citations.source_text import SourceText
from lcdoc.citations.wording import WORD, plain

PASSAGE_WORDS, STRIDE_WORDS = 80, 40
STEM_CHARS = 6
# A span of a document's text: which source, from where, to where.
Span = tuple[SourceText, int, int]


@dataclass(frozen=True)
class Passage:
    """Words [start, end) of a source."""

    words: "SourceWords"
    start: int
    end: int

    @property
    def span(self) -> Span:
        return self.words.source, self.words.spans[self.start][0], self.words.spans[self.end - 1][1]

    @property
    def texts(self) -> list[str]:
        return self.words.texts[self.start : self.end]

    def wider(self, before: int, after: int) -> "Passage":
        """With so many words more on either side."""
        end = min(self.end + after, len(self.words.texts))
        return Passage(self.words, max(self.start - before, 0), end)


class SourceWords:
    """Every word of a source, as wording compares them, and where it stands."""

    def __init__(self, source: SourceText) -> None:
        matches = list(WORD.finditer(source.text))
        self.source = source
        self.texts = [plain(match[0]) for match in matches]
        self.spans = [match.span() for match in matches]


class PassageIndex:
    """Overlapping passages of all sources."""

    def __init__(self, sources: Sequence[SourceText]) -> None:
        self._sources = sources

    @cached_property
    def _words(self) -> list[SourceWords]:
        return [SourceWords(source) for source in self._sources]

    @cached_property
    def _passages(self) -> list[Passage]:
        return [
            Passage(words, start, min(start + PASSAGE_WORDS, len(words.texts)))
            for words in self._words
            for start in range(0, max(len(words.texts) - STRIDE_WORDS, 1), STRIDE_WORDS)
            if words.texts
        ]

    @cached_property
    def _stems(self) -> list[list[str]]:
        return [stems(passage.texts) for passage in self._passages]

    @cached_property
    def _counts(self) -> Counter[str]:
        """In how many passages each stem stands."""
        return Counter(stem for passage in self._stems for stem in set(passage))

    @cached_property
    def _index(self) -> Any:
        from bm25s import BM25

        index = BM25()
        index.index(self._stems, show_progress=False)
        return index

    def knows(self, word: str) -> bool:
        """Whether a word, or one that begins like it, stands anywhere."""
        return stem(word) in self._counts

    def best(self, words: Sequence[str], num_passages: int, within: Sequence[Span] = ()) -> list[Passage]:
        """The passages that have most of the words, best first; within: only those that touch one of these spans."""
        import numpy as np

        asked = [stem for stem in stems(words) if stem in self._counts]
        if not asked:
            return []
        scores = self._index.get_scores(asked)
        if within:
            touching = np.zeros(len(scores), dtype=bool)
            for span in within:
                touching |= self._touching(*span)
            scores = np.where(touching, scores, 0.0)
        order = np.argsort(-scores, kind="stable")[:num_passages]
        return [self._passages[index] for index in order if scores[index] > 0]

    def coverage(self, words: Sequence[str], passage: Passage) -> float:
        """The share of the words that the passage has, each weighing as much as it is rare; 0 to 1."""
        num_passages, there = len(self._passages), set(stems(passage.texts))
        weights = {stem: math.log(1 + num_passages / (1 + self._counts[stem])) for stem in stems(words)}
        total = sum(weights.values())
        return sum(weight for stem, weight in weights.items() if stem in there) / total if total else 0.0

    @cached_property
    def _bounds(self) -> Any:
        """[passages, 3]: the number of the source, and the span in its text."""
        import numpy as np

        numbers = {id(words): number for number, words in enumerate(self._words)}
        return np.array([(numbers[id(passage.words)], *passage.span[1:]) for passage in self._passages])

    def _touching(self, source: SourceText, start: int, end: int) -> Any:
        number = next(index for index, words in enumerate(self._words) if words.source is source)
        bounds = self._bounds
        return (bounds[:, 0] == number) & (bounds[:, 1] < end) & (bounds[:, 2] > start)


def stems(words: Sequence[str]) -> list[str]:
    return [stem(word) for word in words]


def stem(word: str) -> str:
    """A word by how it begins; a number whole."""
    return word if word[0].isdigit() else word[:STEM_CHARS]
