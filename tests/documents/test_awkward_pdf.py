"""PDFs that go wrong: read, read with a named warning, or refused with one clear line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lcdoc.documents import load_document
from lcdoc.errors import DocumentError


def refusal(path: Path, password: str | None = None) -> str:
    with pytest.raises(DocumentError) as caught:
        load_document(str(path), password=password)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def test_locked_files_name_the_option(awkward: Path) -> None:
    asked = "locked with a password; give it with --password"
    assert refusal(awkward / "encrypted-openpassword.pdf") == asked
    assert refusal(awkward / "encrypted-test.pdf") == asked
    assert refusal(awkward / "encrypted-test.pdf", "wrong") == "wrong --password"


@pytest.mark.parametrize("password", ["openpassword", "permissionpassword"])
def test_either_password_opens(awkward: Path, password: str) -> None:
    document = load_document(str(awkward / "encrypted-openpassword.pdf"), password=password)
    assert document.pages[0].text.startswith("Lorem ipsum dolor sit amet, consetetur sadipscing elitr")


def test_encrypted_bullets_are_read(awkward: Path) -> None:
    document = load_document(str(awkward / "encrypted-test.pdf"), password="test")
    assert document.num_pages == 4
    assert "you will receive a single registration key valid for all 25 users." in document.pages[0].text
    assert "reliable backup performed in a reduced amount of time." in document.pages[0].text


def test_a_password_does_no_harm_to_an_open_file(awkward: Path) -> None:
    assert load_document(str(awkward / "multicolumn.pdf"), password="none").num_pages == 3


def test_scans_are_refused_as_scans(awkward: Path) -> None:
    message = "3 of 3 pages are scans without text; run OCR first, for example ocrmypdf"
    assert refusal(awkward / "scan-no-text.pdf") == message


@pytest.mark.parametrize(
    ("name", "text"),
    [("scan-bad.pdf", "pdf.js"), ("malformed.pdf", "2021 3 31")],
)
def test_pictures_with_hardly_any_text_warn(awkward: Path, name: str, text: str) -> None:
    page = load_document(str(awkward / name)).pages[0]
    assert (page.text, page.unread) == (text, None)
    assert page.warnings == ("a picture fills 100% of the page and is not read",)


def test_a_repaired_file_says_so(awkward: Path, capfd: pytest.CaptureFixture[str]) -> None:
    document = load_document(str(awkward / "xref-missing.pdf"))
    assert document.pages[0].text == "Reduced test-case"
    assert document.warnings == ("damaged file, repaired while reading: incorrect startxref pointer(3)",)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["fuzzed.pdf", "no-pages.pdf"])
def test_broken_files_are_refused_quietly(
    awkward: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    message = refusal(awkward / name)
    assert message.startswith("broken PDF (")
    assert message.endswith("); repair it, for example with `mutool clean`")
    assert capfd.readouterr() == ("", "")


def test_rotated_table_keeps_figures_beside_their_states(awkward: Path) -> None:
    rows = load_document(str(awkward / "rotated-table.pdf")).pages[0].text.split("\n")
    assert (
        "Alabama 18,870 23,022 22,650 859 1,178 0 14 15 0 2,179 2,307 11 0 0 0 13 14 0 3 2 0 71,137" in rows
    )
    assert [row.split()[-1] for row in rows if row.startswith("Kentucky ")] == ["295,891"]
    assert rows[0].startswith("State / Territory Permit Handgun Long Gun")


def test_senate_table_keeps_amounts_beside_their_payees(awkward: Path) -> None:
    rows = load_document(str(awkward / "senate-table.pdf")).pages[0].text.split("\n")
    assert "BAIN, J MATTHEW DISTRICT DIRECTOR 37,499.96" in rows
    assert "VELEZ-GREEN, ALEXANDER J LEGISLATIVE ASSISTANT FROM MAY 22 26,874.99" in rows


def test_court_transcript_is_read(awkward: Path) -> None:
    text = load_document(str(awkward / "scotus-transcript.pdf")).pages[0].text
    assert "ALEXANDRE MIRZAYANCE. :" in text
    assert "argument before the Supreme Court of the United States\nat 1:01 p.m." in text


def test_two_columns_read_one_after_the_other(awkward: Path) -> None:
    document = load_document(str(awkward / "multicolumn.pdf"))
    text = " ".join(document.pages[0].text.split())
    assert "Lorem ipsum dolor sit amet, consectetuer adipiscing elit. Ut purus elit, vestibulum ut" in text
    assert "Pellentesque cursus luctus mauris. Nulla malesuada porttitor" in text
    assert "Country Population (millions) Area (km²) Capital Official Language" in document.pages[2].text
    assert "Czech Republic 10.7 78,866 Prague Czech" in document.pages[2].text.split("\n")


def test_arabic_words_read_forwards_however_the_page_is_turned(awkward: Path) -> None:
    document = load_document(str(awkward / "arabic-rotated.pdf"))
    assert [page.text.strip() for page in document.pages] == ["حَبيبي habibi حَبيبي"] * 4


def test_a_page_of_unreadable_characters_is_named_and_the_rest_is_read(
    make_pdf: Callable[..., bytes], write: Callable[..., str]
) -> None:
    to_private_use = (
        b"/CIDInit /ProcSet findresource begin begincmap 1 begincodespacerange <00> <FF> endcodespacerange "
        b"1 beginbfrange <41> <5A> <E001> endbfrange endcmap end"
    )
    mapping = b"<< /Length %d >>\nstream\n%s\nendstream" % (len(to_private_use), to_private_use)
    font = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /ToUnicode 100 0 R >>"
    good = b"BT /F1 12 Tf 72 700 Td (Readable) Tj ET"
    bad = b"BT /F2 12 Tf 72 700 Td (HIDDENBEHINDTHEFONT) Tj ET"
    resources = b"/Font << /F1 3 0 R /F2 101 0 R >>"
    pdf = make_pdf([good, bad, good], objects=(mapping, font)).replace(b"/Font << /F1 3 0 R >>", resources)
    document = load_document(write("part.pdf", pdf))
    assert [page.text for page in document.pages] == ["Readable", "", "Readable"]
    assert document.pages[1].unread == "damaged text: 100% of its characters cannot be read; run OCR on it"
