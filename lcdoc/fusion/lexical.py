"""Spans judged by the words that they share with the question, rare ones above all (BM25)."""

import re
from collections.abc import Sequence
from typing import Any

# Scripts without spaces between words are taken a letter at a time.
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")


class WordIndex:
    """Texts, counted once for all that is asked of them."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._num_texts = len(texts)
        self._index: Any = None
        corpus = [words_of(text) for text in texts]
        if any(corpus):
            from bm25s import BM25

            self._index = BM25()
            self._index.index(corpus, show_progress=False)

    def scores(self, question: str) -> list[float]:
        """For each text its BM25 score; 0 where it has none of the question's words."""
        asked = words_of(question)
        if self._index is None or not asked:
            return [0.0] * self._num_texts
        return [float(value) for value in self._index.get_scores(asked)]


def words_of(text: str) -> list[str]:
    """ "What of Copper-7?" -> ["what", "of", "copper", "7"]."""
    return WORD.findall(text.casefold())
