"""The receipt of an answer over a document that was read in parts."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from lcdoc.documents.document import Document
from lcdoc.fusion.spans import Span
from lcdoc.tasks.answer import PageReread, PassageAnswer, Receipt
from lcdoc.tasks.apart import Extract
from lcdoc.tasks.parts_plan import KV, PARTS
from lcdoc.tasks.receipts import pages_of
from lcdoc.tokens import TokenizedDocument


def parts_receipt(
    again: Receipt,
    documents: Sequence[Document],
    tokens: TokenizedDocument,
    chosen: Sequence[Span],
    num_parts: int,
    steps: Sequence[str],
    tokens_from_store: int,
    conflict: Sequence[Extract],
    tokens_reread: int | None,
) -> Receipt:
    """again: of the reading of the chosen spans, whose cache it describes. steps: down to less memory, while the parts
    were read. conflict: what spans that contradict each other answer, each alone. tokens_reread: of the chosen spans,
    where they were to be taken from their parts instead; else None."""
    pages_total, unread, _ = pages_of(documents, tokens, len(tokens.token_ids))
    reread = tuple(_pages(chosen))
    left = pages_total - len(unread) - len(reread)
    note = (
        f"read in {num_parts} parts; the {len(chosen)} passages that bear on the question were "
        f"{_taken(tokens_reread)}: {_places(chosen, len(documents) > 1)}"
    )
    if left:
        note += f"; the other {left:,} pages were read in their parts alone"
    return replace(
        again,
        exact=False,
        mode="parts",
        tokens_total=len(tokens.token_ids),
        tokens_read=len(tokens.token_ids),
        pages_total=pages_total,
        pages_read=pages_total - len(unread),
        pages_unread=unread,
        parts=num_parts,
        fusion=PARTS if tokens_reread is None else KV,
        pages_reread=reread,
        conflict=tuple(_passage_answer(extract) for extract in conflict),
        tokens_from_store=tokens_from_store,
        notes=(note, *_second_round(conflict, len(documents) > 1, tokens_reread), *steps, *again.notes),
    )


def _taken(tokens_reread: int | None) -> str:
    if tokens_reread is None:
        return "read again together"
    rest = (
        f"; where memory was refused, {tokens_reread:,} tokens of them were read again"
        if tokens_reread
        else ""
    )
    return f"attended to together, as they were read in their parts{rest}"


def _passage_answer(extract: Extract) -> PassageAnswer:
    page = extract.span.page
    return PassageAnswer(
        page.document.source, page.page.number, page.page.label, extract.answer, extract.probability
    )


def _second_round(conflict: Sequence[Extract], named: bool, tokens_reread: int | None) -> Iterator[str]:
    """One sentence, where there was one."""
    if conflict:
        told = "; ".join(f'{_places([extract.span], named)}: "{extract.answer}"' for extract in conflict)
        again = "they were read again in a second round, with what stands around them"
        joined = "they come before all others that were attended to"
        yield (
            f"{len(conflict)} passages contradict each other when asked alone ({told}); "
            f"{again if tokens_reread is None else joined}"
        )


def _pages(chosen: Sequence[Span]) -> list[PageReread]:
    """In the order of the document."""
    pages = []
    for _, group in groupby(sorted(chosen, key=lambda span: span.start), key=lambda span: span.page.start):
        spans = list(group)
        page = spans[0].page
        share = sum(span.num_tokens for span in spans) / (page.stop - page.start)
        pages.append(PageReread(page.document.source, page.page.number, page.page.label, share))
    return pages


def _places(chosen: Sequence[Span], named: bool) -> str:
    """ "pages 3, 12", or "lines 1-40, lines 81-120"; behind the file's name where there are several."""
    places = []
    ordered = sorted(chosen, key=lambda span: span.start)
    for _, group in groupby(ordered, key=lambda span: span.page.document.source):
        spans = list(group)
        document = spans[0].page.document
        labels = list(dict.fromkeys(span.page.page.label for span in spans))
        words = ", ".join(labels)
        if document.unit == "page":
            words = f"page {words}" if len(labels) == 1 else f"pages {words}"
        places.append(f"{document.source} {words}" if named else words)
    return "; ".join(places)
