"""Questions about documents whose page is known, and as much of the documents around these pages as is to be read."""

import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from lcdoc.documents import Document, load_document
from lcdoc.errors import DocumentError
from lcdoc.tokens import PageSpan, tokenize


@dataclass(frozen=True)
class Triple:
    """A question about a file, an answer that is right, and the number of the page that has it."""

    id: str
    file: str
    question: str
    answers: tuple[str, ...]
    page: int


class Surroundings:
    """The documents of a folder, each loaded once."""

    def __init__(self, folder: Path, tokenizer: Any, page_tokens: int | None = None) -> None:
        """page_tokens: longer pages have no surroundings."""
        self._folder, self._tokenizer, self._page_tokens = folder, tokenizer, page_tokens
        self._document = cache(self._load)

    def of(self, triple: Triple, max_tokens: int) -> Document | None:
        """The document with the right page and those around it alone, as many as there is room for; None where that
        page is too long. Where the right page stands among them is drawn by the question's id. Raises DocumentError
        where the document can't be read, or has no such page."""
        document, spans = self._document(triple.file)
        sizes = [span.stop - span.start for span in spans]
        right = next((at for at, span in enumerate(spans) if span.page.number == triple.page), None)
        if right is None:
            raise DocumentError(f"{triple.file} has no page {triple.page}, which {triple.id} asks for")
        if self._page_tokens is not None and sizes[right] > self._page_tokens:
            return None
        random, first, last, room = Random(triple.id), right, right, max_tokens - sizes[right]
        while beside := [at for at in (first - 1, last + 1) if 0 <= at < len(spans)]:
            chosen = random.choice(beside)
            room -= sizes[chosen]
            if room < 0:
                break
            first, last = min(first, chosen), max(last, chosen)
        return replace(document, pages=tuple(span.page for span in spans[first : last + 1]))

    def _load(self, name: str) -> tuple[Document, tuple[PageSpan, ...]]:
        document = load_document(str(self._folder / name))
        return document, tokenize(self._tokenizer, [document]).spans


def load_triples(path: Path, limit: int | None = None) -> list[Triple]:
    """All of a file, or at most so many, spread evenly over it. Raises DocumentError for a file that holds none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        found = [json.loads(line) for line in lines if line.strip()]
        triples = [
            Triple(one["id"], one["file"], one["question"], tuple(one["answers"]), one["page"])
            for one in found
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DocumentError(f"{path}: no questions with pages as JSON lines: {error}") from error
    if not triples:
        raise DocumentError(f"{path}: holds no question")
    count = len(triples) if limit is None else min(limit, len(triples))
    return [triples[index * len(triples) // count] for index in range(count)]
