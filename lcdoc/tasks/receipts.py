"""The receipt: how much of the document was really read, and what was dropped, counted from the cache itself."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from lcdoc.documents.document import Document
from lcdoc.engine.cache import DocumentCache
from lcdoc.engine.extension import Extension
from lcdoc.tasks.answer import PageLoss, Passage, Receipt, UnreadPage
from lcdoc.tokens import TokenizedDocument


def make_receipt(
    documents: Sequence[Document],
    tokens: TokenizedDocument,
    cache: DocumentCache,
    *,
    mode: str,
    kv_dtype: str,
    rounded: bool,
    head_tokens: int,
    tokens_read: int,
    notes: Sequence[str],
    extension: Extension | None = None,
    tokens_from_store: int = 0,
) -> Receipt:
    """extension: how positions went beyond the model's window.

    rounded: whether weights, or keys and values, are stored with fewer bits than the model computes in.

    head_tokens: tokens before the document in the cache. tokens_read: of the document, so far."""
    pages_total, unread, chosen_whole = pages_of(documents, tokens, tokens_read)
    num_heads, kept = _heads(cache)
    density = cache.sparse.density if cache.sparse is not None else 1.0
    decoded = cache.selection.density if cache.selection is not None else 1.0
    losses = _page_losses(tokens, cache, head_tokens, tokens_read)
    return Receipt(
        exact=chosen_whole and density == decoded == 1 and not (losses or rounded or extension),
        mode=mode,
        tokens_total=len(tokens.token_ids),
        tokens_read=tokens_read,
        pages_total=pages_total,
        pages_read=pages_total - len(unread),
        pages_unread=unread,
        kv_dtype=kv_dtype,
        kv_share_kept=kept,
        num_heads=num_heads,
        pages_evicted=losses,
        positions=_positions(cache, extension),
        extended_times=extension.times if extension else 1.0,
        tokens_from_store=tokens_from_store,
        prefill_density=density,
        decode_density=decoded,
        notes=(*notes, *_sparse_note(density), *_pages_note(decoded)),
    )


def with_instructions(receipt: Receipt, found: Sequence[Passage]) -> Receipt:
    """The receipt of an answer that looked at such text."""
    notes = [
        f"the answer looked at text that reads like an instruction to the model ({passage.share:.0%} of its tokens; "
        f'{passage.source}, {passage.unit} {passage.label}): "{passage.words}"'
        for passage in found
    ]
    return replace(receipt, instructions=tuple(found), notes=(*receipt.notes, *notes))


def pages_of(
    documents: Sequence[Document], tokens: TokenizedDocument, tokens_read: int
) -> tuple[int, tuple[UnreadPage, ...], bool]:
    """All pages of the files, those that were not read, and whether none of these had been asked for."""
    failed = [
        UnreadPage(doc.source, page.number, page.label, page.unread)
        for doc in documents
        for page in doc.unread
        if page.unread
    ]
    left_out = [
        UnreadPage(doc.source, number, str(number), "left out by --pages")
        for doc in documents
        for number in _missing(doc)
    ]
    cut_short = [
        UnreadPage(span.document.source, span.page.number, span.page.label, "interrupted")
        for span in tokens.spans
        if span.stop > tokens_read
    ]
    total = sum(doc.num_pages for doc in documents)
    return total, (*failed, *cut_short, *left_out), not (failed or cut_short)


def _sparse_note(density: float) -> tuple[str, ...]:
    if density == 1:
        return ()
    return (f"heads that keep everything attended to {density:.0%} of the text before each chunk",)


def _pages_note(density: float) -> tuple[str, ...]:
    if density == 1:
        return ()
    return (
        f"while answering, heads that keep everything attended to {density:.0%} of the text, chosen by pages",
    )


def _positions(cache: DocumentCache, extension: Extension | None) -> str:
    if extension is not None:
        return extension.method
    return "closed up" if cache.eviction is not None and cache.eviction.close_gaps else "native"


def _missing(document: Document) -> list[int]:
    present = {page.number for page in document.pages}
    return [number for number in range(1, document.num_pages + 1) if number not in present]


def _heads(cache: DocumentCache) -> tuple[dict[str, int], dict[str, float]]:
    """By kind of head: how many there are, and the share of the tokens seen that they still hold."""
    num_heads: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    held: dict[str, float] = defaultdict(float)
    for group, buffer in cache.groups():
        heads = len(group.kv_heads)
        num_heads[group.kind] += heads
        seen[group.kind] += heads * buffer.seen_tokens
        held[group.kind] += heads * buffer.kept_tokens(0, buffer.seen_tokens)
    return dict(num_heads), {kind: held[kind] / seen[kind] for kind in num_heads if seen[kind]}


def _page_losses(
    tokens: TokenizedDocument, cache: DocumentCache, head_tokens: int, tokens_read: int
) -> tuple[PageLoss, ...]:
    """Pages of which keys were dropped; what the model's own windows never see is no loss of ours."""
    groups = [(group, buffer) for group, buffer in cache.groups() if group.kind != "window"]
    losses = []
    for span in tokens.spans:
        start, stop = head_tokens + span.start, head_tokens + min(span.stop, tokens_read)
        if stop <= start or not groups:
            continue
        held = sum(len(group.kv_heads) * buffer.kept_tokens(start, stop) for group, buffer in groups)
        total = sum(len(group.kv_heads) for group, _ in groups) * (stop - start)
        if held < total:
            page = span.page
            losses.append(PageLoss(span.document.source, page.number, page.label, 1 - held / total))
    return tuple(losses)
