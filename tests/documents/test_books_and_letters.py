"""DOCX and EPUB."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lcdoc.documents import Document, load_document
from lcdoc.documents.document import SCAN
from lcdoc.errors import DocumentError


def repack(path: Path, change: Callable[[str, bytes], bytes | None]) -> bytes:
    """The same zip with each file changed, or left out where `change` gives None."""
    packed = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(packed, "w") as target:
        for name in source.namelist():
            data = change(name, source.read(name))
            if data is not None:
                target.writestr(name, data)
    return packed.getvalue()


def test_manual_is_read_in_sections(pestpp: Document) -> None:
    assert (pestpp.format, pestpp.unit) == ("docx", "section")
    labels = [page.label for page in pestpp.pages]
    assert labels[:4] == [
        "beginning, part 1",
        "beginning, part 2",
        "1. Introduction",
        "1.2 Software Installation",
    ]
    assert labels[-1] == "B.5.3 Distinguishing between a JCO and a JCB File"
    tied = pestpp.pages[labels.index("3.2.2 Fixed and Tied Parameters")].text
    assert "Thus tied parameters “piggyback” on their parents." in tied
    assert pestpp.warnings == ("left out: OLEObject elements, which hold no plain text",)


def test_manual_tables_keep_rows_together(pestpp: Document) -> None:
    rows = [row for page in pestpp.pages for row in page.text.split("\n") if row.count(" | ") >= 3]
    assert len(rows) > 200
    assert any(row.startswith("NPAR | integer | greater than zero | ") for row in rows)


def test_paper_is_read_with_its_table(docs: Path) -> None:
    document = load_document(str(docs / "autogen-paper.docx"))
    assert [page.label for page in document.pages][1:3] == ["Abstract", "Introduction"]
    text = "\n".join(page.text for page in document.pages)
    assert text.startswith(
        "AutoGen: Enabling Next-Gen LLM Applications via Multi-Agent Conversation\n\nQingyun Wu"
    )
    assert "7 | 8 | 9 | 10 | 11 | 12\n13 | 14 | 49e168b7-d2ae-407f-a055-2167576f39a1 | 15 | 16 | 17\n" in text
    assert (
        "Here is a random UUID in the middle of the paragraph! 314b0a30-5b04-470b-b9f7-eed2c2bec74a" in text
    )


def test_formulas_of_a_letter_are_not_dropped(docs: Path, write: Callable[..., str]) -> None:
    def add_formula(name: str, data: bytes) -> bytes:
        formula = (
            b'<w:p><w:r><w:t>Force is </w:t></w:r><m:oMath xmlns:m="http://schemas.openxmlformats.org/'
            b'officeDocument/2006/math"><m:f><m:num><m:r><m:t>p</m:t></m:r></m:num><m:den><m:r><m:t>t</m:t></m:r>'
            b"</m:den></m:f><m:sSup><m:e><m:r><m:t>x</m:t></m:r></m:e><m:sup><m:r><m:t>2</m:t></m:r></m:sup>"
            b"</m:sSup></m:oMath></w:p></w:body>"
        )
        return data.replace(b"</w:body>", formula) if name == "word/document.xml" else data

    path = write("formula.docx", repack(docs / "autogen-paper.docx", add_formula))
    assert load_document(path).pages[-1].text.endswith("Force is p/tx^(2)")


def test_alice_has_her_chapters(docs: Path) -> None:
    document = load_document(str(docs / "alice.epub"))
    assert (document.format, document.unit, document.num_pages) == ("epub", "chapter", 13)
    assert document.title == "Alice's Adventures in Wonderland"
    assert [page.label for page in document.pages] == [
        "cover",
        "Contents",
        "Title Page",
        "Down The Rabbit-Hole",
        "The Pool Of Tears",
        "A Caucus-Race And A Long Tale",
        "The Rabbit Sends In A Little Bill",
        "Advice From A Caterpillar",
        "Pig And Pepper",
        "A Mad Tea-Party",
        "The Queen's Croquet Ground",
        "Who Stole The Tarts?",
        "Alice's Evidence",
    ]
    assert document.pages[3].text.startswith(
        "Down The Rabbit-Hole\n\nAlice was beginning to get very tired of sitting by her sister on the bank"
    )
    assert [(page.label, page.unread) for page in document.unread] == [("cover", SCAN)]
    assert "2. Down The Rabbit-Hole\n3. The Pool Of Tears" in document.pages[1].text


def test_a_missing_chapter_is_named(docs: Path, write: Callable[..., str]) -> None:
    data = repack(docs / "alice.epub", lambda name, data: None if "chapter_002" in name else data)
    document = load_document(write("part.epub", data))
    assert [page.unread for page in document.unread] == [
        SCAN,
        "OPS/chapter_002.xhtml is missing from the file",
    ]
    assert "The Pool Of Tears" in document.pages[4].label


@pytest.mark.parametrize(
    ("name", "broken", "message"),
    [
        ("alice.epub", "OPS/package.opf", "OPS/package.opf is damaged; fetch the file again"),
        ("alice.epub", "META-INF/container.xml", "META-INF/container.xml is damaged; fetch the file again"),
        ("autogen-paper.docx", "word/document.xml", "a damaged Word document (syntax error"),
    ],
)
def test_damaged_books_are_refused(
    docs: Path, write: Callable[..., str], name: str, broken: str, message: str
) -> None:
    path = write(name, repack(docs / name, lambda entry, data: b"junk" if entry == broken else data))
    with pytest.raises(DocumentError) as caught:
        load_document(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_sellers_locks_are_named(docs: Path, write: Callable[..., str]) -> None:
    def lock(name: str, data: bytes) -> bytes:
        return data

    packed = io.BytesIO(repack(docs / "alice.epub", lock))
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("META-INF/encryption.xml", '<CipherReference URI="OPS/chapter_001.xhtml"/>')
    with pytest.raises(DocumentError, match=r"locked by its seller \(DRM\)"):
        load_document(write("locked.epub", packed.getvalue()))
