"""Sections of a summary, made of what was written: each with its pages, and with sentences that bear it out."""

from collections.abc import Iterator, Sequence

from lcdoc.documents.document import Document
from lcdoc.tasks.summarize.draft import lines_of
from lcdoc.tasks.summarize.node import MODEL, Node
from lcdoc.tasks.summarize.part import Part, pages_place, place_of
from lcdoc.tasks.summarize.sentences import Sentence, cut_sentences, find_evidence, sentences_of
from lcdoc.tasks.summarize.summary import Evidence, Place, Section

EVIDENCE = 3


def node_sections(
    node: Node, parts: Sequence[Part], style: str, points: int, title: str | None
) -> Iterator[Section]:
    """points: how many the node should give where the style is bullets. Their pages are those of the node's parts."""
    own = parts[node.first : node.last + 1]
    sentences = [sentence for part in own for sentence in part.sentences]
    texts = [" ".join(node.text.split())]
    if style == "bullets" and points > 1:
        texts = points_of(node.text)
    place, writer = place_of(own), "model" if node.origin == MODEL else "document"
    for text in texts:
        yield _section(title, text, writer, place, find_evidence(text, sentences, EVIDENCE))


def whole_sections(text: str, documents: Sequence[Document], style: str, writer: str) -> Iterator[Section]:
    """Of what was written about all documents at once; writer: "model" or "document". A section's pages are those of
    the sentences that bear it out; where there are none, all of them."""
    pages = [(document, sentence) for document in documents for sentence in sentences_of(document.pages)]
    sentences = [sentence for _, sentence in pages]
    texts = points_of(text) if style == "bullets" else _paragraphs(text)
    for text in texts:
        found = find_evidence(text, sentences, EVIDENCE)
        yield from _on_their_pages(text, writer, found, pages, documents)


def _on_their_pages(
    text: str,
    writer: str,
    found: Sequence[Sentence],
    pages: Sequence[tuple[Document, Sentence]],
    documents: Sequence[Document],
) -> Iterator[Section]:
    owners = {id(sentence): document for document, sentence in pages}
    document = owners[id(found[0])] if found else documents[0]
    found = [sentence for sentence in found if owners[id(sentence)] is document]
    read = [page for page in document.pages if page.text.strip()]
    first_and_last = [sentence.page for sentence in found if sentence.page] or read
    yield _section(None, text, writer, pages_place(document.source, first_and_last), found)


def points_of(text: str) -> list[str]:
    """The points of a list; of a text that is none, its sentences."""
    lines = lines_of(text)
    return lines if len(lines) > 1 else cut_sentences(" ".join(lines))


def _paragraphs(text: str) -> list[str]:
    return [" ".join(" ".join(lines_of(piece)).split()) for piece in text.split("\n\n") if piece.strip()]


def _section(title: str | None, text: str, writer: str, place: Place, found: Sequence[Sentence]) -> Section:
    return Section(
        title=title,
        text=text,
        written_by=writer,
        source=place.source,
        first_page=place.first_page,
        last_page=place.last_page,
        first_label=place.first_label,
        last_label=place.last_label,
        evidence=tuple(
            Evidence(place.source, sentence.page.number, sentence.page.label, sentence.text)
            for sentence in found
            if sentence.page
        ),
    )
