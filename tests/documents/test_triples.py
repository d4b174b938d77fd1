"""Questions of the long documents: each answer stands on the page named for it, in words found there alone."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from lcdoc.documents import Document

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


def test_triples_are_told_apart_by_id() -> None:
    assert len({triple["id"] for triple in TRIPLES}) == len(TRIPLES)
