"""Questions of the long documents: each answer stands on the page named for it, in words found there alone."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from lcdoc.citations.checker import Checker
from lcdoc.documents import Document
from lcdoc.tasks.citing import MIN_EVIDENCE

TRIPLES: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "data" / "triples.jsonl").read_text("utf-8").splitlines()
]

ReadPages = Callable[[str], dict[tuple[int, str], str]]


@pytest.fixture(scope="module")
def read_pages(read: Callable[[str], Document]) -> ReadPages:
    """A document's pages by number and label, with every run of whitespace as one space."""
    return cache(lambda name: {(p.number, p.label): " ".join(p.text.split()) for p in read(name).pages})


@pytest.mark.parametrize("triple", TRIPLES, ids=lambda triple: triple["id"])
def test_quote_holds_the_answer_and_stands_on_its_page_alone(
    triple: dict[str, Any], read_pages: ReadPages
) -> None:
    quote = triple["quote"]
    assert any(answer.casefold() in quote.casefold() for answer in triple["answers"])
    found = [place for place, text in read_pages(triple["file"]).items() if quote in text]
    assert found == [(triple["page"], triple["label"])]


@pytest.fixture(scope="module")
def checker_of(read: Callable[[str], Document]) -> Callable[[str], Checker]:
    return cache(lambda name: Checker([read(name)]))


@pytest.mark.parametrize("triple", TRIPLES, ids=lambda triple: triple["id"])
def test_a_quote_is_verified_on_its_page(
    triple: dict[str, Any], checker_of: Callable[[str], Checker]
) -> None:
    """Also with the typography of another editor."""
    retyped = triple["quote"].replace("'", "\u2019").replace(" - ", " \u2013 ").replace(" ", "\n", 1)
    for quote in (triple["quote"], retyped):
        [claim, *_] = checker_of(triple["file"]).claims(f"It says \u201c{quote}\u201d.")
        assert (claim.kind, claim.status, claim.place.pages) == (
            "quote",
            "verified",
            range(triple["page"], triple["page"] + 1),
        )


def test_a_document_that_does_not_say_has_less_evidence(checker_of: Callable[[str], Checker]) -> None:
    files = sorted({triple["file"] for triple in TRIPLES})
    checkers = [checker_of(name) for name in files]

    def evidence(question: str, checker: Checker) -> float:
        return max((share for share, _ in checker.nearest(question, 1)), default=0.0)

    said, unsaid = [], []
    for triple in TRIPLES:
        own = files.index(triple["file"])
        said.append(evidence(triple["question"], checkers[own]) >= MIN_EVIDENCE)
        others = (checkers[(own + step) % len(files)] for step in (1, 2))
        unsaid += [evidence(triple["question"], other) < MIN_EVIDENCE for other in others]
    assert sum(said) >= 0.9 * len(said) and sum(unsaid) >= 0.9 * len(unsaid)


def test_triples_are_told_apart_by_id() -> None:
    assert len({triple["id"] for triple in TRIPLES}) == len(TRIPLES)
