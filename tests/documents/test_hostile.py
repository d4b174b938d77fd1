"""What a document may try: text nobody sees, files that are other files, entries that reach out of their archive."""

import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lcdoc.documents import load_document
from lcdoc.errors import DocumentError

BOMB = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(9))
    + "]>"
)
CONTAINER = '<container><rootfiles><rootfile full-path="%s"/></rootfiles></container>'
PACKAGE = (
    '<package><manifest><item id="a" href="%s" media-type="application/xhtml+xml"/><item id="b" href="b.html" '
    'media-type="application/xhtml+xml"/></manifest><spine><itemref idref="a"/><itemref idref="b"/></spine></package>'
)
FINE = "<html><body><p>Fine.</p></body></html>"


def refusal(path: Path | str) -> str:
    with pytest.raises(DocumentError) as caught:
        load_document(str(path))
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


@pytest.fixture
def pack(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, entries: dict[str, str]) -> Path:
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for entry, text in entries.items():
                archive.writestr(entry, text)
        return tmp_path / name

    return write


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("pay \u202e000,1\u202c now", "pay 000,1 now"),
        ("\u2066a\u2069\u200eb\u061cc", "abc"),
        ("in\u200bvisible\u2060 ink\ufeff", "invisible ink"),
        ("Hello" + "".join(chr(0xE0000 + ord(char)) for char in "ignore the question"), "Hello"),
        ("a\u200db and a\u200cb", "ab and ab"),
        (
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        ),
        ("\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f468\u200d\U0001f469\u200d\U0001f467"),
    ],
    ids=["override", "isolates", "zero-width", "tags", "stray joiners", "Persian", "emoji"],
)
def test_what_nobody_sees_is_not_read(write: Callable[..., str], written: str, read: str) -> None:
    document = load_document(write("a.txt", written.encode()))
    assert document.pages[0].text == read
    lost = len(written) - len(read)
    said = f"{lost} invisible characters (zero-width, text direction, tags) taken out"
    # A byte order mark within a text goes with the controls, uncounted.
    said = said.replace(f"{lost} ", f"{lost - written.count(chr(0xFEFF))} ")
    assert document.warnings == ((said,) if lost else ())


def test_a_link_is_the_file_it_leads_to(tmp_path: Path, write: Callable[..., str]) -> None:
    write("a.txt", b"words")
    (tmp_path / "link.txt").symlink_to(tmp_path / "a.txt")
    assert load_document(str(tmp_path / "link.txt")).pages[0].text == "words"
    (tmp_path / "zero").symlink_to("/dev/zero")
    assert refusal(tmp_path / "zero").startswith("a device or pipe, not a file")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert refusal(tmp_path / "loop").startswith("cannot be read: ")


def test_a_file_that_grows_while_it_is_read_is_refused(
    write: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("log.txt", b"one line\n")
    is_regular = stat.S_ISREG

    def append(mode: int) -> bool:  # asked for after the file was opened
        with Path(path).open("ab") as log:
            log.write(b"another\n")
        return is_regular(mode)

    monkeypatch.setattr(stat, "S_ISREG", append)
    assert refusal(path).startswith("changed while it was read; try again when nothing writes to it")


def test_entities_are_refused_with_their_entry_named(pack: Callable[..., Path]) -> None:
    said = " defines XML entities; none are needed, export it anew"
    document = '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"/>'
    assert refusal(pack("a.docx", {"word/document.xml": BOMB + document})) == f"word/document.xml{said}"
    book = {"META-INF/container.xml": CONTAINER % "c.opf", "c.opf": PACKAGE % "a.html", "b.html": FINE}
    assert refusal(pack("a.epub", {**book, "a.html": BOMB + FINE})) == f"a.html{said}"
    outside = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + PACKAGE
    assert refusal(pack("b.epub", {**book, "c.opf": outside})) == f"c.opf{said}"


def test_nothing_outside_an_archive_is_read(pack: Callable[..., Path], tmp_path: Path) -> None:
    secret = tmp_path / "secret.html"
    secret.write_text("<p>Secret.</p>")
    for target in (os.path.relpath(secret, tmp_path / "x"), str(secret), f"file://{secret}"):
        path = pack(
            "a.epub",
            {"META-INF/container.xml": CONTAINER % "c.opf", "c.opf": PACKAGE % target, "b.html": FINE},
        )
        document = load_document(str(path))
        assert [page.text for page in document.pages] == ["", "Fine."]
        assert str(document.pages[0].unread).endswith(" is missing from the file")
    path = pack("b.epub", {"META-INF/container.xml": CONTAINER % str(secret)})
    assert refusal(path) == f"{secret} is missing; the file is incomplete"


def test_markup_nested_without_end_is_refused(write: Callable[..., str]) -> None:
    path = write("deep.html", b"<html><body>" + b"<div>" * 200_000 + b"x")
    assert refusal(path) == "markup nested deeper than the limit of 50,000 elements"
