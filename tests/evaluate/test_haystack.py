"""Cutting natural text to a length, and hiding a sentence in it."""

import re
from pathlib import Path

import pytest

from lcdoc.errors import DocumentError, UsageError
from lcdoc.evaluate.haystack import BOOKS, SENTENCE_END, Haystack
from lcdoc.evaluate.templates import CITIES
from lcdoc.models import load_tokenizer, resolve

NEEDLE = "One of the special magic numbers for copper is: 3254257."


@pytest.fixture(scope="module")
def haystack(tiny_model: Path) -> Haystack:
    return Haystack.open("frankenstein", load_tokenizer(resolve(str(tiny_model))))


@pytest.mark.parametrize("length", [100, 500, 1500])
@pytest.mark.parametrize("depth", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_needle_stands_where_asked_in_text_of_the_length_asked(
    haystack: Haystack, length: int, depth: float, seed: int
) -> None:
    placed = haystack.place(NEEDLE, length_tokens=length, depth=depth, seed=seed)
    pages = [page.text for page in placed.document.pages if NEEDLE in page.text]
    assert len(pages) == 1, "whole, once, in one page"
    num_tokens = len(placed.tokens.token_ids)
    longest_sentence = 150
    assert max(0, length - longest_sentence) < num_tokens <= length
    needle_tokens = len(haystack.tokenizer(NEEDLE).input_ids)
    wanted = depth * (num_tokens - needle_tokens)
    assert wanted - longest_sentence < placed.needle_token <= wanted + 2
    assert placed.depth == placed.needle_token / num_tokens


@pytest.mark.parametrize("depth", [0.0, 0.3, 1.0])
def test_needle_token_is_where_the_needle_starts(haystack: Haystack, depth: float) -> None:
    placed = haystack.place(NEEDLE, length_tokens=800, depth=depth, seed=0)
    after = haystack.tokenizer.decode(placed.tokens.token_ids[placed.needle_token :])
    assert after.lstrip().startswith(NEEDLE)


def test_the_text_around_the_needle_is_the_haystack_and_no_sentence_is_cut(haystack: Haystack) -> None:
    placed = haystack.place(NEEDLE, length_tokens=900, depth=0.5, seed=3)
    text = " ".join(" ".join(page.text.split()) for page in placed.document.pages)
    before, after = text.split(NEEDLE)
    whole = " ".join(haystack.text.split())
    assert (before + after.removeprefix(" ")).strip() in whole
    assert SENTENCE_END.search(before[-3:]) and SENTENCE_END.search(after[-2:] + " ")


def test_depths_share_a_stretch_and_seeds_do_not(haystack: Haystack) -> None:
    def rest(depth: float, seed: int) -> str:
        placed = haystack.place(NEEDLE, length_tokens=600, depth=depth, seed=seed)
        return " ".join(" ".join(page.text for page in placed.document.pages).replace(NEEDLE, "").split())

    assert rest(0.0, 0)[:200] == rest(1.0, 0)[:200]
    assert rest(0.0, 0)[:200] != rest(0.0, 1)[:200]


def test_needles_of_all_depths_stand_in_one_text_each_where_it_stands_alone(haystack: Haystack) -> None:
    needles = [
        (f"The secret of the {key} is {key * 2}.", depth)
        for key, depth in (("ox", 0), ("cat", 0.5), ("bee", 1))
    ]
    together = haystack.place_all(needles, length_tokens=900, seed=2)
    assert len({id(placed.tokens) for placed in together}) == 1
    text = " ".join(" ".join(page.text for page in together[0].document.pages).split())
    assert len(together[0].tokens.token_ids) <= 900
    for (needle, depth), placed in zip(needles, together, strict=True):
        alone = haystack.place(needle, length_tokens=900, depth=depth, seed=2)
        assert text.count(needle) == 1
        assert placed.depth == pytest.approx(alone.depth, abs=0.1)
        after = haystack.tokenizer.decode(placed.tokens.token_ids[placed.needle_token :])
        assert after.lstrip().startswith(needle)
        text = text.replace(needle, "")
    assert " ".join(text.split()) in " ".join(haystack.text.split())


@pytest.mark.parametrize("book", BOOKS)
def test_books_have_text_for_8000_tokens_and_no_answer_in_it(book: str, haystack: Haystack) -> None:
    text = Haystack.open(book, haystack.tokenizer).text
    assert len(text) > 8000 * 4 * 4, "four windows of 8,000 tokens, at four characters each"
    assert not any(re.search(rf"\b{city}\b", text) for city in CITIES)


def test_a_title_ends_no_sentence() -> None:
    text = "I met M. Waldman. He and Mrs. Saville smiled! “Dear me.” So did I."
    assert [text[: match.end()].split()[-1] for match in SENTENCE_END.finditer(text)] == [
        "Waldman.",
        "smiled!",
        "me.”",
    ]


def test_a_haystack_that_is_too_short_is_refused(tmp_path: Path, haystack: Haystack) -> None:
    path = tmp_path / "short.txt"
    path.write_text("A short text. It ends here.", encoding="utf-8")
    short = Haystack.open(str(path), haystack.tokenizer)
    with pytest.raises(UsageError, match=r"short\.txt has \d+ tokens, fewer than the 1,000 asked for"):
        short.place(NEEDLE, length_tokens=1000, depth=0.5, seed=0)


def test_a_length_without_room_for_the_needle_is_refused(haystack: Haystack) -> None:
    with pytest.raises(UsageError, match="a length of 8 tokens has no room"):
        haystack.place(NEEDLE, length_tokens=8, depth=0.5, seed=0)


def test_a_text_of_one_endless_line_is_read_or_refused_but_never_hides_half_a_needle(
    tmp_path: Path, haystack: Haystack
) -> None:
    path = tmp_path / "endless.txt"
    path.write_text("word " * 3000, encoding="utf-8")
    endless = Haystack.open(str(path), haystack.tokenizer)
    placed = endless.place(NEEDLE, length_tokens=1000, depth=0.5, seed=0)
    assert any(NEEDLE in page.text for page in placed.document.pages)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00\xd8"])
def test_an_unreadable_haystack_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DocumentError, match=r"text\.txt: can't be read as UTF-8 text"):
        Haystack.open(str(path), None)
