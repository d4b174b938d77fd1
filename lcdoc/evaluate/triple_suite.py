"""What the suites over questions with known pages have in common: which are asked, of how much of their documents."""

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from lcdoc.config import ReadSettings
from lcdoc.documents.document import Document
from lcdoc.errors import UsageError
from lcdoc.evaluate.subject import Subject
from lcdoc.evaluate.suite import Cell, Round, Suite
from lcdoc.evaluate.triples import Surroundings, Triple, load_triples
from lcdoc.tasks.progress import Observer


@dataclass(frozen=True)
class TriplesPlan:
    """tokens: read of a document, whole pages around the right one. limit: at most so many questions, spread evenly
    over the file. Raises UsageError for a value that is not allowed."""

    tokens: int
    limit: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("tokens", self.tokens), ("limit", self.limit)):
            if value is not None and value < 1:
                raise UsageError(f"{name} must be 1 or more, not {value}")


class TripleSuite(Suite[Cell]):
    """A model and the questions of a file, one cell each. Making it loads no weights."""

    def __init__(
        self,
        name: str,
        cell_type: type[Cell],
        settings: ReadSettings,
        path: Path,
        folder: Path,
        plan: TriplesPlan,
        page_tokens: int | None = None,
        **head: Any,
    ) -> None:
        """folder: of the documents. page_tokens: questions for longer pages are left out. Raises DocumentError where
        the questions or a document can't be read, UsageError where no question is left."""
        self._settings = settings
        self._subject = Subject(settings, ("exact",))
        chosen = load_triples(path, plan.limit)
        surroundings = Surroundings(folder, self._subject.tokenizer, page_tokens)
        self._asked = [(one, pages) for one in chosen if (pages := surroundings.of(one, plan.tokens))]
        if not self._asked:
            raise UsageError(f"no page that {path} asks for has {page_tokens} tokens or less")
        if page_tokens is not None:
            left_out = len(chosen) - len(self._asked)
            head |= {"page_tokens": page_tokens, "questions_with_longer_pages": left_out}
        file = {"file": path.name, "file_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        super().__init__(
            cell_type, self._subject.head(name, **asdict(plan), **file, **head), len(self._asked)
        )

    def rounds(self) -> Iterator[Round[Cell]]:
        """Questions that follow each other and are asked of the same pages share a reading."""
        for _, group in groupby(self._asked, key=lambda asked: _pages_of(asked[1])):
            asked = list(group)
            triples, document = [triple for triple, _ in asked], asked[0][1]
            yield Round(len(asked), partial(self.answered, triples, document))

    @abstractmethod
    def answered(self, triples: Sequence[Triple], document: Document, observer: Observer) -> Iterator[Cell]:
        """What comes of each question to these pages of their document."""


def _pages_of(document: Document) -> tuple[str, int, int]:
    return document.source, document.pages[0].number, document.pages[-1].number
