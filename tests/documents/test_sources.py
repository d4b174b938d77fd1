"""Names on the command line: files, globs, standard input, and everything that is none of them."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lcdoc.documents import expand_sources, load_document
from lcdoc.errors import DocumentError

READ_STDIN = (
    "from lcdoc.documents import load_document; d = load_document('-'); "
    "print(d.source, d.format, d.num_pages, d.num_chars)"
)


def refusal(source: str) -> str:
    with pytest.raises(DocumentError) as caught:
        load_document(source)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("awkward/multicolumn.pdf", "- pdf 3 "),
        ("docs/autogen-paper.docx", "- docx 4 "),
        ("docs/alice.epub", "- epub 13 "),
        ("docs/wikipedia-microsoft.html", "- html 30 "),
        ("docs/qmsum-Bmr016.json", "- transcript 55 "),
        ("docs/frankenstein.txt", "- text 264 "),
    ],
)
def test_standard_input_is_known_by_its_content(docs: Path, name: str, said: str) -> None:
    with (docs.parent / name).open("rb") as file:
        result = subprocess.run(
            [sys.executable, "-c", READ_STDIN], stdin=file, capture_output=True, text=True, check=True
        )
    assert result.stdout.startswith(said)
    assert result.stderr == ""


def test_empty_standard_input_is_refused() -> None:
    result = subprocess.run([sys.executable, "-c", READ_STDIN], input="", capture_output=True, text=True)
    assert "DocumentError: -: empty, 0 bytes; nothing to read" in result.stderr


def test_content_wins_over_a_wrong_name(awkward: Path, write: Callable[..., str]) -> None:
    path = write("report.txt", (awkward / "multicolumn.pdf").read_bytes())
    assert load_document(path).format == "pdf"


def test_missing_file() -> None:
    assert refusal("nowhere/at-all.pdf") == "nowhere/at-all.pdf: no such file"


def test_directory(tmp_path: Path) -> None:
    said = f"{tmp_path}: a directory; name its files, for example '{tmp_path}/*.pdf'"
    assert refusal(str(tmp_path)) == said
    with pytest.raises(DocumentError) as caught:
        expand_sources([str(tmp_path)])
    assert str(caught.value) == said


def test_device_and_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    said = "a device or pipe, not a file; pipe it in instead and name it '-'"
    assert refusal("/dev/zero") == f"/dev/zero: {said}"
    assert refusal(str(pipe)) == f"{pipe}: {said}"


def test_names_that_no_file_can_have() -> None:
    assert refusal("a\0b") == "'a\\x00b': not a file name"
    assert "cannot be read: File name too long" in refusal("x" * 5000)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("empty.txt", b"", "empty, 0 bytes; nothing to read"),
        ("blank.txt", b" \n\t\n ", "no text in it"),
        ("junk.bin", bytes(range(256)) * 40, "no text, only binary data; lcdoc reads PDF, text, HTML"),
        (
            "old.doc",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
            "an old or a locked Office file; save it",
        ),
        ("letter.rtf", b"{\\rtf1\\ansi Hello}", "an RTF file; save it as .docx or .txt"),
        ("photo.png", b"\x89PNG\r\n\x1a\n" + bytes(64), "a picture; recognise its text first"),
        ("log.gz", b"\x1f\x8b\x08" + bytes(64), "gzip-compressed; unpack it first"),
        ("broken.docx", b"PK\x03\x04 and then nothing", "a broken zip file (docx and epub are zips)"),
        ("broken.pdf", b"%PDF-1.7\n nothing", "broken PDF ("),
        ("menus.html", b"<html><body><script>x</script></body></html>", "no text in it"),
    ],
)
def test_what_is_no_document_is_refused_in_one_line(
    write: Callable[..., str], name: str, data: bytes, said: str
) -> None:
    path = write(name, data)
    assert refusal(path).startswith(f"{path}: {said}")


def test_globs_are_expanded_in_natural_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("p10.txt", "p2.txt", "P1.txt", "notes.md"):
        (tmp_path / name).touch()
    (tmp_path / "p3.txt").mkdir()
    monkeypatch.chdir(tmp_path)
    assert expand_sources(["notes.md", "-", "[pP]*.txt"]) == ["notes.md", "-", "P1.txt", "p2.txt", "p10.txt"]


def test_a_file_named_like_a_glob_is_that_file(tmp_path: Path) -> None:
    path = tmp_path / "a[1].txt"
    path.touch()
    assert expand_sources([str(path)]) == [str(path)]


def test_a_glob_without_match_is_named(tmp_path: Path) -> None:
    with pytest.raises(DocumentError) as caught:
        expand_sources([f"{tmp_path}/*.pdf"])
    assert str(caught.value) == f"{tmp_path}/*.pdf: no file matches; check the pattern and the folder"


def test_standard_input_is_named_once() -> None:
    with pytest.raises(DocumentError, match="standard input can be read only once"):
        expand_sources(["-", "-"])


def test_a_plain_name_is_left_to_the_reader() -> None:
    assert expand_sources(["not-yet.pdf"]) == ["not-yet.pdf"]
