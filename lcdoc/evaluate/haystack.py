"""Natural text of a wanted length, cut and extended only at the ends of sentences."""

import hashlib
import random
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

from lcdoc.documents.document import Document
from lcdoc.documents.text import text_document
from lcdoc.errors import DocumentError, UsageError
from lcdoc.tokens import TokenizedDocument, tokenize

# Texts that come with lcdoc, each in a file of its name.
BOOKS = ("frankenstein", "moby-dick")
# A title before a name ends no sentence.
SENTENCE_END = re.compile(r"(?<!\bM)(?<!\bMr)(?<!\bMrs)(?<!\bDr)(?<!\bSt)[.!?][\"')\u201d\u2019]*\s+|\n\s*\n")


@dataclass(frozen=True)
class Placed:
    """A sentence in a document that it was added to.

    tokens: the document as `lcdoc ask` tokenises it. needle_token: where the sentence starts in them.
    """

    document: Document
    tokens: TokenizedDocument
    needle_token: int

    @property
    def depth(self) -> float:
        """Where the sentence came to stand, from 0 at the start to 1 at the end."""
        return self.needle_token / len(self.tokens.token_ids)


@dataclass(frozen=True)
class Haystack:
    """Text to hide sentences in. name: of the book or the file."""

    name: str
    text: str
    tokenizer: Any

    @classmethod
    def open(cls, name: str, tokenizer: Any) -> "Haystack":
        """One of BOOKS, or the text of a file in UTF-8. Raises DocumentError."""
        if name in BOOKS:
            shipped = resources.files("lcdoc.evaluate") / f"{name}.txt"
            return cls(name, shipped.read_text(encoding="utf-8"), tokenizer)
        path = Path(name)
        try:
            return cls(path.name, path.read_text(encoding="utf-8-sig"), tokenizer)
        except (OSError, UnicodeDecodeError) as error:
            raise DocumentError(
                f"{path}: can't be read as UTF-8 text: {error}; the books that come with lcdoc are "
                f"{' and '.join(BOOKS)}"
            ) from error

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    def check_length(self, length_tokens: int) -> None:
        """Raises UsageError where the text has fewer tokens than that."""
        available = len(self.token_ids)
        if available < length_tokens:
            raise UsageError(
                f"{self.name} has {available:,} tokens, fewer than the {length_tokens:,} asked for; "
                f"choose a shorter length or a longer text with --haystack"
            )

    def place(self, needle: str, *, length_tokens: int, depth: float, seed: int) -> Placed:
        """As place_all, for one needle at a depth from 0 to 1."""
        [placed] = self.place_all([(needle, depth)], length_tokens=length_tokens, seed=seed)
        return placed

    def place_all(
        self, needles: Sequence[tuple[str, float]], *, length_tokens: int, seed: int
    ) -> list[Placed]:
        """A stretch of the text with all of the needles, each at its depth, at most length_tokens together.

        needles: by depth, from 0 to 1. seed: chooses the stretch; needles at several depths then stand in the
        same one. Raises UsageError where the text is too short, or the length too short for the needles.
        """
        self.check_length(length_tokens)
        first = self._first_border(length_tokens, seed)
        budget = length_tokens
        while budget > 0:
            document = self._document(needles, first, budget)
            tokens = tokenize(self.tokenizer, [document])
            excess = len(tokens.token_ids) - length_tokens
            if excess <= 0:
                return [Placed(document, tokens, self._find(needle, tokens)) for needle, _ in needles]
            budget -= excess
        raise UsageError(f"a length of {length_tokens:,} tokens has no room for the needle; choose more")

    def _document(self, needles: Sequence[tuple[str, float]], first: int, budget: int) -> Document:
        """The text from a border on, for the budget's tokens, with the needles between its sentences."""
        start = self._borders[first]
        first_token = self._token_at(start)
        stop = self._border_near(first_token + budget, first)
        num_tokens = self._token_at(stop) - first_token
        pieces, done = [], start
        for needle, depth in needles:
            middle = self._border_near(first_token + depth * num_tokens, first)
            pieces += [self.text[done:middle], needle, " "]
            done = middle
        rest = self.text[done:stop]
        text = "".join([*pieces, rest] if rest else pieces[:-1])
        return text_document(text, self.name, "text", ())

    def _find(self, needle: str, tokens: TokenizedDocument) -> int:
        """The token that a needle starts at."""
        span = next((span for span in tokens.spans if needle in span.page.text), None)
        if span is None:
            raise UsageError(
                f"{self.name} has too few ends of sentences to hide one; choose another --haystack"
            )
        char = span.page.text.index(needle)
        return bisect_right(tokens.char_starts, char, span.start, span.stop) - 1

    def _first_border(self, length_tokens: int, seed: int) -> int:
        """A border after which enough text is left."""
        last = bisect_right(self._borders, self._token_starts[-length_tokens]) - 1
        return random.Random(seed).randint(0, max(last, 0))

    def _border_near(self, token: float, first: int) -> int:
        """The last border, from the first on, that has no more than this many tokens before it."""
        idx = bisect_right(self._borders, token, lo=first, key=self._token_at)
        return self._borders[max(idx - 1, first)]

    def _token_at(self, char: int) -> int:
        """Tokens that start before this character."""
        return bisect_right(self._token_starts, char - 1)

    @cached_property
    def _borders(self) -> list[int]:
        """Characters at which sentences start, and the end of the text."""
        return [0, *(match.end() for match in SENTENCE_END.finditer(self.text)), len(self.text)]

    @cached_property
    def token_ids(self) -> list[int]:
        """The whole text's."""
        return list(self._encoded.input_ids)

    @cached_property
    def _token_starts(self) -> list[int]:
        """Each token's first character."""
        return [start for start, _ in self._encoded.offset_mapping]

    @cached_property
    def _encoded(self) -> Any:
        return self.tokenizer(
            self.text,
            add_special_tokens=False,
            split_special_tokens=True,
            return_offsets_mapping=True,
            verbose=False,
        )
