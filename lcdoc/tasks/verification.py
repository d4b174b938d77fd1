"""Anyone's answer held against documents; no model takes part."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lcdoc.citations.checker import Checker
from lcdoc.citations.claim import Claim
from lcdoc.documents.document import Document
from lcdoc.errors import UsageError
from lcdoc.tasks.answer import SCHEMA_VERSION

# About a hundred pages: more is no answer, and would be checked for minutes.
MAX_ANSWER_CHARS = 200_000


@dataclass(frozen=True)
class CheckedClaim:
    """A claim (see lcdoc.citations.claim) as plain data. line: of the answer, from 1. supported: None where there is
    nothing to check. page to source_words: where it stands or, for a sentence, what it was compared with."""

    kind: str
    line: int
    words: str
    status: str
    supported: bool | None
    source: str | None
    page: int | None
    last_page: int | None
    label: str | None
    unit: str | None
    source_words: str | None
    problems: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Verification:
    """supported: whether nothing was found to be wrong. answer: the name of its file."""

    answer: str
    sources: tuple[str, ...]
    supported: bool
    claims: tuple[CheckedClaim, ...]
    schema_version: int = field(default=SCHEMA_VERSION, kw_only=True)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def verify(name: str, answer: str, documents: Sequence[Document]) -> Verification:
    """Checks quotations, figures, negations and page numbers. Raises UsageError for an answer without words, or one
    of more than MAX_ANSWER_CHARS."""
    if not answer.strip():
        raise UsageError(f"{name}: the answer is empty; nothing to verify")
    if len(answer) > MAX_ANSWER_CHARS:
        raise UsageError(
            f"{name}: {len(answer):,} characters, more than the limit of {MAX_ANSWER_CHARS:,} for an answer; split it"
        )
    claims = tuple(_checked(claim, answer) for claim in Checker(documents).claims(answer))
    sources = tuple(document.source for document in documents)
    return Verification(name, sources, all(claim.supported is not False for claim in claims), claims)


def _checked(claim: Claim, answer: str) -> CheckedClaim:
    place = claim.place
    return CheckedClaim(
        kind=claim.kind,
        line=answer.count("\n", 0, claim.start) + 1,
        words=claim.words,
        status=claim.status,
        supported=None if claim.status == "unchecked" else claim.supported,
        source=place.document.source if place else None,
        page=place.first.number if place else None,
        last_page=place.last.number if place else None,
        label=place.first.label if place else None,
        unit=place.document.unit if place else None,
        source_words=place.words if place else None,
        problems=claim.problems,
        notes=claim.notes,
    )
