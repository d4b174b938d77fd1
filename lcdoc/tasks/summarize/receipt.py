"""The receipt of a summary: what was read, how it was put together, and what is not the model's own."""

from array import array
from collections.abc import Sequence

from lcdoc.documents.document import Document
from lcdoc.tasks.receipts import pages_of
from lcdoc.tasks.summarize.node import REPLACED, SHORT, Node
from lcdoc.tasks.summarize.summary import Coverage, Section, SummaryReceipt
from lcdoc.tokens import TokenizedDocument


def make_summary_receipt(
    documents: Sequence[Document],
    *,
    method: str,
    read_exactly: bool,
    tokens: int,
    kv_dtype: str,
    num_parts: int,
    parts_together: int,
    part_tokens: int,
    levels: int,
    merges: int,
    nodes: Sequence[Node],
    resumed: int,
    sections: Sequence[Section],
    coverage: Coverage,
    notes: Sequence[str],
) -> SummaryReceipt:
    """nodes: all that was written. read_exactly: whether the model read with its own numbers."""
    pages_total, unread, chosen_whole = pages_of(documents, TokenizedDocument([], array("L"), ()), tokens)
    replaced = sum(node.origin == REPLACED for node in nodes)
    short = sum(node.origin == SHORT for node in nodes)
    cut = sum(node.cut for node in nodes)
    looped = sum(node.looped for node in nodes)
    unsupported = sum(not section.evidence for section in sections)
    told = (
        (
            replaced,
            "of {all} texts the model wrote nothing of use: sentences of the document stand there instead",
        ),
        (
            short,
            "of {all} texts are parts that are no longer than their summary would be, in their own words",
        ),
        (cut, "of {all} texts were ended at their length limit, after the last whole sentence"),
        (looped, "of {all} texts were ended where the model began to repeat itself"),
    )
    invented = sum(node.invented for node in nodes)
    own = [f"{count} {words.format(all=len(nodes))}" for count, words in told if count]
    if invented:
        own.append(
            f"left out: {invented} sentences that name people, places or numbers which their text does not"
        )
    if unsupported:
        own.append(
            f"{unsupported} of {len(sections)} sections match no sentence of their pages: check them before use"
        )
    if coverage.missing:
        own.append(
            f"{len(coverage.missing)} of {coverage.stretches} stretches of the document are not represented in the "
            f"summary"
        )
    return SummaryReceipt(
        exact=method == "exact" and read_exactly and chosen_whole and not replaced,
        method=method,
        tokens_total=tokens,
        tokens_read=tokens,
        pages_total=pages_total,
        pages_read=pages_total - len(unread),
        pages_unread=unread,
        kv_dtype=kv_dtype,
        parts=num_parts,
        parts_together=parts_together,
        part_tokens=part_tokens,
        levels=levels,
        merges=merges,
        replaced=replaced,
        resumed=resumed,
        unsupported=unsupported,
        notes=(*notes, *own),
    )
