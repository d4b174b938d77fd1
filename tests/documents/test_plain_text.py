"""Text files: whole, in passages that name their own lines, in any encoding."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lcdoc.documents import load_document


@pytest.mark.parametrize("name", ["moby-dick.txt", "frankenstein.txt"])
def test_labels_name_the_very_lines_of_the_file_and_nothing_is_lost(docs: Path, name: str) -> None:
    document = load_document(str(docs / name))
    lines = [line.rstrip() for line in (docs / name).read_text("utf-8-sig").split("\n")]
    covered: set[int] = set()
    for page in document.pages:
        first, _, last = page.label.split(" ")[1].partition("-")
        span = range(int(first), int(last or first) + 1)
        assert page.text == "\n".join(lines[number - 1] for number in span)
        assert len(page.text) <= 2000
        covered.update(span)
    assert all(not line for number, line in enumerate(lines, start=1) if number not in covered)


def test_novels_are_read_from_first_to_last_line(docs: Path) -> None:
    document = load_document(str(docs / "moby-dick.txt"))
    assert (document.format, document.unit, document.warnings) == ("text", "lines", ())
    assert "The Project Gutenberg EBook of Moby Dick; or The Whale" in document.pages[0].text
    assert any("Call me Ishmael. Some years ago" in page.text for page in document.pages)
    assert document.pages[-1].text.endswith("subscribe to our email newsletter to hear about new eBooks.")


def test_passages_end_at_paragraphs(write: Callable[..., str]) -> None:
    paragraph = "Twenty words of a sentence that is long enough to matter here. " * 10
    document = load_document(write("a.txt", "\n\n".join([paragraph.strip()] * 9).encode()))
    assert [page.label for page in document.pages] == ["lines 1-5", "lines 7-11", "lines 13-17"]
    assert {page.text.count(paragraph.strip()) for page in document.pages} == {3}


def test_one_endless_line_is_cut_at_sentences_and_kept_whole(write: Callable[..., str]) -> None:
    text = " ".join(f"Sentence number {number} ends here." for number in range(400))
    document = load_document(write("a.txt", text.encode()))
    assert "".join(page.text for page in document.pages) == text
    assert {page.label for page in document.pages} == {"line 1"}
    assert all(page.text.rstrip().endswith("here.") for page in document.pages)


def test_form_feeds_end_printed_pages(write: Callable[..., str]) -> None:
    document = load_document(write("rfc.txt", b"First page\n\x0cSecond page\n\x0c"))
    assert (document.unit, [page.label for page in document.pages]) == ("page", ["1", "2"])
    assert [page.text for page in document.pages] == ["First page", "Second page"]


def test_a_form_feed_in_long_text_does_not_make_pages(write: Callable[..., str]) -> None:
    document = load_document(write("a.txt", b"Title\n\x0c" + b"One line of text.\n" * 600))
    assert document.unit == "lines"
    assert document.pages[0].label == "line 1"
    assert document.pages[1].label.startswith("lines 2-")
    assert document.pages[-1].label.endswith("-601")


def test_markdown_is_called_so(write: Callable[..., str]) -> None:
    document = load_document(write("notes.md", b"# Title\n\n- one\n- two\n"))
    assert (document.format, document.pages[0].text) == ("markdown", "# Title\n\n- one\n- two")


def test_control_characters_and_line_ends_are_made_plain(write: Callable[..., str]) -> None:
    text = "A\x00B\x07\x1b[0m\tC\r\nﬁne\rco\u00adop e\u0301\n" + "Text that is long enough. " * 20
    assert load_document(write("a.txt", text.encode())).pages[0].text.split("\n")[:3] == [
        "AB[0m\tC",
        "fine",
        "coop é",
    ]


@pytest.mark.parametrize(
    ("text", "encoding", "warning"),
    [
        ("Grüße aus Köln", "utf-8", ()),
        ("Grüße aus Köln", "utf-8-sig", ()),
        ("Grüße aus Köln", "utf-16", ()),
        ("Grüße aus Köln", "utf-32", ()),
        ("Grüße aus Köln – 5 €", "cp1252", ("encoding guessed as cp1252 (Western European)",)),
        ("Résumé: l’été à Paris", "cp1252", ("encoding guessed as cp1252 (Western European)",)),
        ("Привет, как дела? Это документ о воде.", "cp1251", ("encoding guessed as cp1251",)),
        ("こんにちは世界。これは日本語の文書です。", "shift_jis", ("encoding guessed as cp932",)),
        ("Zażółć gęślą jaźń. To jest dokument.", "cp1250", ("encoding guessed as cp1250",)),
        ("Grüße aus Köln", "utf-16-le", ("encoding guessed as utf_16_le",)),
        ("Plain words in wide letters", "utf-16-le", ("encoding guessed as utf_16_le",)),
    ],
)
def test_encodings(write: Callable[..., str], text: str, encoding: str, warning: tuple[str, ...]) -> None:
    document = load_document(write("a.txt", text.encode(encoding)))
    assert document.pages[0].text == text
    assert document.warnings == warning


def test_a_few_broken_bytes_do_not_garble_the_rest(write: Callable[..., str]) -> None:
    data = ("Straße, Köln, Grüße, Übung. " * 10).encode() + b"\xff end"
    document = load_document(write("log.txt", data))
    assert document.pages[0].text.endswith("Übung. \ufffd end")
    assert document.warnings == ("1 bytes were not valid UTF-8 and are shown as \ufffd",)
