"""Chapters of each format: all of the text is in one of them, on its own pages."""

from pathlib import Path

import pytest

from lcdoc.documents import load_document
from lcdoc.documents.chapters import chapters_of

DOCS = Path(__file__).parents[1] / "data" / "docs"
FILLER = "The ice lay all around the ship, and the men waited for the wind. " * 4


@pytest.mark.parametrize(
    ("name", "titles", "pages"),
    [
        ("frankenstein.txt", ["Letter 1", "Letter 2", "Letter 3", "Letter 4", "Chapter 1"], None),
        ("alice.epub", ["Down The Rabbit-Hole", "The Pool Of Tears"], None),
        ("wikipedia-microsoft.html", ["1972\u20131985: Founding"], None),
        (
            "geotopo-de.pdf",
            ["1 Topologische Grundbegriffe", "2 Mannigfaltigkeiten und Simplizialkomplexe"],
            "3 24",
        ),
    ],
)
def test_chapters_hold_all_of_the_text(name, titles, pages):
    document = load_document(str(DOCS / name))
    chapters = chapters_of(document)
    found = [chapter.title for chapter in chapters]
    start = found.index(titles[0])
    assert found[start : start + len(titles)] == titles
    whole = "".join(page.text for page in document.pages)
    assert "".join(page.text for chapter in chapters for page in chapter.document.pages) == whole
    if pages:
        own = chapters[start].document.pages
        assert f"{own[0].label} {own[-1].label}" == pages


def test_markdown_is_divided_at_its_highest_level_that_divides(tmp_path):
    path = tmp_path / "a.md"
    path.write_text(f"# Title\n\n{FILLER}\n## One\n{FILLER}\n### Deep\n{FILLER}\n## Two\n{FILLER}\n")
    chapters = chapters_of(load_document(str(path)))
    assert [chapter.title for chapter in chapters] == ["Title", "One", "Two"]
    assert chapters[1].document.pages[0].text.startswith("## One")


def test_a_list_of_contents_is_no_chapter(tmp_path):
    path = tmp_path / "a.txt"
    titles = ["beginning", "Chapter 1", "Chapter 2"]
    path.write_text(f"Chapter 1\n\nChapter 2\n\n\nChapter 1\n\n{FILLER}\n\nChapter 2\n\n{FILLER}\n")
    assert [chapter.title for chapter in chapters_of(load_document(str(path)))] == titles


def test_text_without_headings_has_no_chapters(tmp_path):
    (tmp_path / "a.txt").write_text(FILLER * 20)
    assert chapters_of(load_document(str(tmp_path / "a.txt"))) == []
