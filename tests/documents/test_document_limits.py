"""Each limit stops what breaks it and names itself."""

import io
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from psutil import Process

from lcdoc.documents.limits import LIMITS, Limits
from lcdoc.documents.load import load_document
from lcdoc.errors import DocumentError
from tests.fuzz.trial import try_file


def refusal(path: str, limits: Limits = LIMITS) -> str:
    with pytest.raises(DocumentError) as caught:
        load_document(path, limits=limits)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def word_file(write: Callable[..., str], entries: dict[str, bytes]) -> str:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {"word/document.xml": b"<w/>", **entries}.items():
            archive.writestr(name, data)
    return write("a.docx", packed.getvalue())


def test_file_size(docs: Path) -> None:
    said = refusal(str(docs / "frankenstein.txt"), replace(LIMITS, file_bytes=1000))
    assert said == "larger than the limit of 1,000 bytes; split it into smaller files"


def test_zip_bomb(write: Callable[..., str]) -> None:
    said = refusal(word_file(write, {"word/media/x": bytes(30_000_000)}))
    assert said.startswith("word/media/x grows 1,0")
    assert said.endswith(" times when unpacked, more than the limit of 200; it looks like a zip bomb")


def test_number_of_files_in_an_archive(write: Callable[..., str]) -> None:
    path = word_file(write, {f"{number}": b"" for number in range(20)})
    assert refusal(path, replace(LIMITS, archive_entries=20)) == "holds 21 files, more than the limit of 20"


def test_size_of_an_unpacked_archive(docs: Path) -> None:
    said = refusal(str(docs / "alice.epub"), replace(LIMITS, archive_bytes=500_000))
    assert said == "unpacks to 583,693 bytes, more than the limit of 500,000"


def test_number_of_pages(awkward: Path) -> None:
    said = refusal(str(awkward / "multicolumn.pdf"), replace(LIMITS, pages=2))
    assert said == "3 pages, more than the limit of 2; split the file"


def test_characters_of_a_document(docs: Path) -> None:
    said = refusal(str(docs / "frankenstein.txt"), replace(LIMITS, document_chars=10_000))
    assert said == "440,207 characters, more than the limit of 10,000; split the file"


def test_a_page_of_too_many_characters_is_unread_and_the_rest_is_read(awkward: Path) -> None:
    document = load_document(str(awkward / "multicolumn.pdf"), limits=replace(LIMITS, page_chars=2000))
    assert document.pages[0].unread is not None
    assert document.pages[0].unread.endswith(" characters, more than the limit of 2,000")
    assert document.pages[0].text == ""
    assert document.pages[2].text.startswith("Table 1: EU Countries Information")


GOOD = zlib.compress(b"BT /F1 12 Tf 72 700 Td (Readable) Tj ET")
BOMB = zlib.compress(b"% " + bytes(80_000_000), 9)
TOO_LARGE = "a stream unpacks beyond the limit of 75,000,000 bytes"


def test_a_page_with_a_bomb_is_unread_and_the_rest_is_read(
    make_pdf: Callable[..., bytes], write: Callable[..., str]
) -> None:
    document = load_document(write("bomb.pdf", make_pdf([GOOD, BOMB, GOOD], packed=True)))
    assert [page.text for page in document.pages] == ["Readable", "", "Readable"]
    assert [page.unread for page in document.pages] == [None, TOO_LARGE, None]


def test_a_bomb_inside_a_form_is_found_on_every_page_that_uses_it(
    make_pdf: Callable[..., bytes], write: Callable[..., str]
) -> None:
    form = (
        b"<< /Type /XObject /Subtype /Form /BBox [0 0 9 9] /Filter /FlateDecode /Length %d >>\nstream\n"
        b"%s\nendstream" % (len(BOMB), BOMB)
    )
    pdf = make_pdf([GOOD, GOOD], resources=b"/XObject << /X 100 0 R >>", objects=(form,), packed=True)
    said = refusal(write("bomb.pdf", pdf))
    assert said == f"no page can be read; 2 of 2 pages: {TOO_LARGE}"


def test_forms_that_hold_themselves_end(make_pdf: Callable[..., bytes], write: Callable[..., str]) -> None:
    form = (
        b"<< /Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /X 100 0 R >> >> "
        b"/Length 5 >>\nstream\n/X Do\nendstream"
    )
    pdf = make_pdf([GOOD], resources=b"/XObject << /X 100 0 R >>", objects=(form,), packed=True)
    assert load_document(write("loop.pdf", pdf)).pages[0].text == "Readable"


def test_pictures_are_never_unpacked(make_pdf: Callable[..., bytes], write: Callable[..., str]) -> None:
    """200 MB of pixels, of 10 GB that the picture says it has, lie in a few bytes that only a renderer needs."""
    image = (
        b"<< /Type /XObject /Subtype /Image /Width 100000 /Height 100000 /BitsPerComponent 8 /ColorSpace /DeviceGray "
        b"/Filter [/FlateDecode /FlateDecode] /Length %d >>\nstream\n%s\nendstream"
    )
    rows = zlib.compress(zlib.compress(bytes(200_000_000), 9), 9)
    content = zlib.compress(b"BT /F1 12 Tf 72 700 Td (Readable) Tj ET q 612 0 0 792 0 0 cm /X Do Q")
    pdf = make_pdf(
        [content], resources=b"/XObject << /X 100 0 R >>", objects=(image % (len(rows), rows),), packed=True
    )
    forked_bytes = Process().memory_info().rss
    outcome = try_file(pdf, "pdf")
    assert outcome.verdict == "read" and outcome.peak_bytes < forked_bytes + 100_000_000
    assert load_document(write("picture.pdf", pdf)).pages[0].text == "Readable"
