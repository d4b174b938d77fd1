"""Sentences planted in documents of every kind, with nothing else changed."""

from pathlib import Path

import pytest

from lcdoc.documents import load_document
from lcdoc.documents.document import Document, Page
from lcdoc.evaluate.planting import Ground

DOCS = Path(__file__).parents[1] / "data" / "docs"
NEEDLES = ["The first needle is here.", "The second needle is here.", "The third needle is here."]
DEPTHS = [0.0, 0.5, 1.0]


def of_pages(*texts: str, source: str = "note.pdf") -> Document:
    pages = tuple(Page(number, str(number), text) for number, text in enumerate(texts, start=1))
    return Document(source, "pdf", "page", pages, len(pages))


@pytest.mark.parametrize(
    "name",
    ["alice.epub", "autogen-paper.docx", "wikipedia-microsoft.html", "frankenstein.txt", "qmsum-Bmr016.json"],
)
def test_nothing_but_the_needles_is_added(name: str) -> None:
    document = load_document(str(DOCS / name))
    ground = Ground.of([document])
    spots = [ground.spot_at(depth) for depth in DEPTHS]
    [planted] = ground.plant(list(zip(NEEDLES, spots, strict=True)))
    assert len(planted.pages) == len(document.pages) and planted.num_pages == document.num_pages
    for spot, needle in zip(spots, NEEDLES, strict=True):
        assert needle in planted.pages[spot.page_idx].text
    for before, after in zip(document.pages, planted.pages, strict=True):
        assert (after.number, after.label, after.unread) == (before.number, before.label, before.unread)
        text = after.text
        for needle in NEEDLES:
            text = text.replace(f"{needle} ", "").replace(f" {needle}", "").replace(needle, "")
        assert text == before.text
    assert ground.depth_of(spots[0]) == 0 and ground.depth_of(spots[2]) == 1
    assert abs(ground.depth_of(spots[1]) - 0.5) < 0.05


def test_needles_stand_between_sentences() -> None:
    ground = Ground.of([of_pages("One is here. Two is here.", "Three goes on", "over the page. Four.")])
    [planted] = ground.plant([("A needle.", ground.spot_at(0.3))])
    assert planted.pages[0].text == "One is here. A needle. Two is here."
    [planted] = ground.plant([("A needle.", ground.spot_at(0.6))])  # page 2 has no border of its own
    assert planted.pages[0].text == "One is here. Two is here. A needle."
    [planted] = ground.plant([("A needle.", ground.spot_at(1.0))])
    assert planted.pages[2].text == "over the page. Four. A needle."


def test_needles_at_one_spot_keep_their_order() -> None:
    ground = Ground.of([of_pages("No border in here")])
    spots = [ground.spot_at(depth) for depth in (0.0, 0.4, 1.0)]
    [planted] = ground.plant(list(zip(NEEDLES, spots, strict=True)))
    assert planted.pages[0].text == f"{NEEDLES[0]} {NEEDLES[1]} No border in here {NEEDLES[2]}"


def test_depth_runs_over_all_documents_and_pages_without_text_are_left_alone() -> None:
    first, second = of_pages("", "One. Two. Three."), of_pages("Four. Five. Six.", source="other.pdf")
    ground = Ground.of([first, second])
    assert ground.spot_at(0.0).page_idx == 1
    assert ground.spot_at(0.9).document_idx == 1
    documents = ground.plant([("A needle.", ground.spot_at(0.0)), ("B needle.", ground.spot_at(1.0))])
    assert [page.text for document in documents for page in document.pages] == [
        "",
        "A needle. One. Two. Three.",
        "Four. Five. Six. B needle.",
    ]
