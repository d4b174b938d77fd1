"""Page ranges as users write them."""

from pathlib import Path

import pytest

from lcdoc.documents import load_document, parse_page_range
from lcdoc.errors import DocumentError, UsageError


@pytest.mark.parametrize(
    ("spec", "numbers"),
    [
        ("3", (3,)),
        ("2-4", (2, 3, 4)),
        ("9-", (9, 10)),
        ("1-3,5,9-", (1, 2, 3, 5, 9, 10)),
        ("5,2-3,2", (2, 3, 5)),
        (" 2 - 3 , 5 ", (2, 3, 5)),
    ],
)
def test_ranges(spec: str, numbers: tuple[int, ...]) -> None:
    assert parse_page_range(spec).numbers(10, "a.pdf") == numbers


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("", "'' is no page range; write 12-40,50,60-"),
        ("a-b", "'a-b' is no page range"),
        ("-5", "'-5' is no page range"),
        ("1,,2", "'' is no page range"),
        ("1.5", "'1.5' is no page range"),
        ("0", "pages count from 1"),
        ("40-12", "'40-12' runs backwards; write 12-40"),
        ("1-9999999999", "'1-9999999999' is too large for a page number"),
    ],
)
def test_what_is_no_range_is_a_usage_error(spec: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_page_range(spec)
    assert str(caught.value).startswith(f"--pages {spec!r}: {said}")


@pytest.mark.parametrize(("spec", "page"), [("11", 11), ("8-12", 12), ("12-", 12), ("1,99", 99)])
def test_pages_outside_the_document_are_named(spec: str, page: int) -> None:
    with pytest.raises(DocumentError) as caught:
        parse_page_range(spec).numbers(10, "a.pdf")
    assert str(caught.value) == f"a.pdf: page {page} of --pages {spec} is outside the document's 1-10"


def test_ranges_count_chapters_too(docs: Path) -> None:
    document = load_document(str(docs / "alice.epub"), pages="4,13")
    assert [page.label for page in document.pages] == ["Down The Rabbit-Hole", "Alice's Evidence"]
    assert document.num_pages == 13


def test_a_range_of_nothing_but_scans_is_refused(docs: Path) -> None:
    with pytest.raises(DocumentError, match="1 of 1 chapters are scans without text; run OCR first"):
        load_document(str(docs / "alice.epub"), pages="1")
