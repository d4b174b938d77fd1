"""Spans judged by the words that they share with the question, rare ones above all (BM25)."""

import re
from collections.abc import Sequence

# Scripts without spaces between words are taken a letter at a time.
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")


def score(question: str, texts: Sequence[str]) -> list[float]:
    """For each text its BM25 score; 0 where it has none of the question's words."""
    from bm25s import BM25

    corpus, asked = [words_of(text) for text in texts], words_of(question)
    if not any(corpus) or not asked:
        return [0.0] * len(texts)
    index = BM25()
    index.index(corpus, show_progress=False)
    return [float(value) for value in index.get_scores(asked)]


def words_of(text: str) -> list[str]:
    """ "What of Copper-7?" -> ["what", "of", "copper", "7"]."""
    return WORD.findall(text.casefold())
