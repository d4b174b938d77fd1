"""What a reading will take of the device's memory, and the least lossy way to stay within a budget.

Arithmetic over a model's shape: no weights are loaded, and the cache is sized by the buffers' own code on the meta
device, so that plan and cache cannot disagree.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from lcdoc.engine.cache import Buffer, LayerCache
from lcdoc.engine.eviction import Eviction
from lcdoc.engine.eviction.demand import Demand
from lcdoc.engine.eviction.policy import CHUNK
from lcdoc.engine.extension import Extension
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.model_shape import ModelShape
from lcdoc.engine.page_selection import PageSelection
from lcdoc.engine.profiles import HeadProfile
from lcdoc.engine.sparse_prefill import sparse_bytes

# Chunks are halved down to this before anything is given up.
MIN_CHUNK_TOKENS = 128

SPARSE_LOSS = "blocks of the text that hardly matter are left out while it is read"
PAGES_LOSS = "pages of the text that hardly matter are left out while an answer is written"

# Queries whose attention a policy makes explicit at a time, and bytes per token and head for ranking them: scores,
# ranks, masks and indices.
EVIDENCE_QUERIES = 128
RANKING_BYTES = 32

# Peak over plain sum of activations, measured on a CPU with glibc's allocator at chunks of 128 and 1024 tokens.
ALLOCATOR_FACTOR = 3.5


def kv_bytes(
    shape: ModelShape,
    split: HeadSplit,
    capacity_tokens: int,
    kv_dtype: str,
    eviction: Eviction | None = None,
    extension: Extension | None = None,
    selection: PageSelection | None = None,
) -> int:
    """Bytes of the cache's buffers for capacity_tokens, exactly as DocumentCache allocates them; with the window
    that streaming heads have while the document is read."""
    buffers = _buffers(shape, split, capacity_tokens, kv_dtype, eviction, extension, selection)
    return sum(buffer.capacity_bytes for buffer in buffers)


def mark_bytes(
    shape: ModelShape,
    split: HeadSplit,
    capacity_tokens: int,
    kv_dtype: str,
    eviction: Eviction | None = None,
    extension: Extension | None = None,
) -> int:
    """Most bytes that the marks take which are made to go back to: before each chunk, and before its probes."""
    marks = 2 if eviction is not None and eviction.policy.listens != CHUNK else 1
    buffers = _buffers(shape, split, capacity_tokens, kv_dtype, eviction, extension)
    return marks * sum(buffer.mark_bytes for buffer in buffers)


def _buffers(
    shape: ModelShape,
    split: HeadSplit,
    capacity_tokens: int,
    kv_dtype: str,
    eviction: Eviction | None,
    extension: Extension | None,
    selection: PageSelection | None = None,
) -> Iterator[Buffer]:
    """All buffers of a cache, on the meta device."""
    example = torch.empty(1, shape.num_kv_heads, 1, shape.head_dim, dtype=shape.dtype, device="meta")
    for layer_idx, window in enumerate(shape.windows):
        layer = LayerCache(layer_idx, split, capacity_tokens, kv_dtype, eviction, extension=extension)
        layer.selection = selection
        for _, buffer in layer.groups(example, example, window):
            yield buffer


def workspace_bytes(shape: ModelShape, chunk_tokens: int) -> int:
    """Most bytes that a chunk's activations take: the feed-forward layer's three products or attention's parts with
    their float32 sums, on top of the hidden states; one row of logits; and what products take besides.

    Several layers' worth stay with the allocator, which gives freed blocks back late: ALLOCATOR_FACTOR of them.
    """
    itemsize = shape.dtype.itemsize
    attention_width = shape.num_heads * shape.head_dim
    hidden = 4 * shape.hidden_size * itemsize
    feed_forward = 3 * shape.intermediate_size * itemsize
    attention = attention_width * (6 * itemsize + 3 * 4)
    activations = chunk_tokens * (hidden + max(feed_forward, attention))
    return int(ALLOCATOR_FACTOR * activations) + 2 * 4 * shape.vocab_size + shape.scratch_bytes


def narrowed_bytes(shape: ModelShape, split: HeadSplit, capacity_tokens: int) -> int:
    """Of kv_bytes, what streaming heads give back when the document is read."""
    if split.prefill_recent_size is None:
        return 0
    narrow = replace(split, prefill_recent_size=None)
    wide, after = (kv_bytes(shape, either, capacity_tokens, "model") for either in (split, narrow))
    return wide - after


def window_bytes(shape: ModelShape, split: HeadSplit, capacity_tokens: int) -> int:
    """Most bytes that streaming heads with a wider window for reading take while they attend: one layer's ring in
    order, and again with a chunk behind it."""
    if split.prefill_recent_size is None:
        return 0
    heads = max(map(len, split.streaming), default=0)
    ring_tokens = min(split.prefill_recent_size, capacity_tokens)
    return 2 * 2 * heads * ring_tokens * shape.head_dim * shape.dtype.itemsize


def eviction_bytes(shape: ModelShape, eviction: Eviction | None) -> int:
    """Most bytes that judging and dropping take: one head's keys and values in float32, attention of a block of
    queries to them, and the ranking of all heads' tokens."""
    if eviction is None:
        return 0
    held = eviction.keep_tokens + eviction.tail_tokens
    group = shape.num_heads // shape.num_kv_heads
    head = held * 2 * shape.head_dim * 4 * 3
    attention = held * group * min(EVIDENCE_QUERIES, eviction.tail_tokens) * 4 * 3
    ranking = held * shape.num_layers * shape.num_kv_heads * RANKING_BYTES
    return head + attention + ranking


def choosing_bytes(shape: ModelShape, chunk_tokens: int, capacity_tokens: int) -> int:
    """Most bytes that reading by blocks takes."""
    heads = shape.num_heads, shape.num_kv_heads, shape.head_dim
    chunk_tokens = min(chunk_tokens, capacity_tokens)
    return sparse_bytes(*heads, chunk_tokens=chunk_tokens, capacity_tokens=capacity_tokens)


@dataclass(frozen=True)
class Rung:
    """One way to read. loss: what it gives up, in words; empty for an exact reading. offloaded_layers: of the last
    decoder layers, those whose weights (offloaded_bytes) are streamed through the device for every chunk.
    narrowed_bytes: of kv_bytes, what streaming heads give back when the document is read. sparse: whether retrieval
    heads read by blocks where that is quicker. selects_pages: whether they are decoded by pages."""

    name: str
    split: HeadSplit
    kv_dtype: str
    chunk_tokens: int
    kv_bytes: int
    workspace_bytes: int
    peak_bytes: int
    loss: str
    offloaded_layers: int = 0
    offloaded_bytes: int = 0
    eviction: Eviction | None = None
    narrowed_bytes: int = 0
    sparse: bool = False
    selects_pages: bool = False

    @property
    def form(self) -> tuple[object, ...]:
        """What decides the numbers that a cache holds."""
        return self.split, self.kv_dtype, self.eviction


@dataclass(frozen=True)
class Limits:
    """What the user fixed: choices that the ladder may not change. None leaves a choice to it. weights: how they are
    stored, as the shape's weights_bytes has it. demand: what may be evicted. extension: how positions go beyond
    the model's window. sparse: whether retrieval heads read by blocks. select_pages: whether they are decoded by
    pages, where there are enough of them."""

    split: HeadSplit | None = None
    kv_dtype: str | None = None
    exact: bool = False
    weights: str = "model"
    demand: Demand | None = None
    extension: Extension | None = None
    sparse: bool = False
    select_pages: bool = False

    @property
    def selection(self) -> PageSelection | None:
        """For sizes."""
        return PageSelection() if self.select_pages else None


def ladder(
    shape: ModelShape,
    *,
    capacity_tokens: int,
    chunk_tokens: int,
    base_bytes: int,
    limits: Limits,
    profile: HeadProfile | None = None,
) -> Iterator[Rung]:
    """The ways to read, the least lossy first: exact, smaller chunks, bfloat16 keys and values where the model
    computes in float32, streaming heads by lowest gate (with a profile, those below its threshold, where that takes
    less), 8 bits, 4 bits, eviction. Where the user asks for eviction it comes instead of fewer bits; a share that is
    asked for goes with every rung.

    base_bytes: what the process takes before the weights are loaded.
    """
    split, stored = limits.split or HeadSplit.exact(), limits.kv_dtype or "model"
    demand, extension = limits.demand, limits.extension
    share_given = demand is not None and demand.keep_tokens is not None
    num_heads = shape.num_open_heads

    def rung(name: str, eviction: Eviction | None = None, kv_dtype: str | None = None) -> Rung:
        kv_dtype = kv_dtype or stored
        form = shape, split, capacity_tokens, kv_dtype, eviction, extension
        kv = kv_bytes(*form, limits.selection)
        by_pages = limits.select_pages and kv > kv_bytes(*form)
        work = workspace_bytes(shape, min(chunk, capacity_tokens)) + eviction_bytes(shape, eviction)
        work += window_bytes(shape, split, capacity_tokens)
        work += mark_bytes(shape, split, capacity_tokens, kv_dtype, eviction, extension)
        narrowed = narrowed_bytes(shape, split, capacity_tokens)
        by_blocks = limits.sparse and eviction is None
        work += choosing_bytes(shape, chunk, capacity_tokens) if by_blocks else 0
        peak = base_bytes + shape.weights_bytes + kv + work
        loss = "; ".join(
            filter(
                None,
                (
                    _weights_loss(limits.weights),
                    _heads_loss(split, num_heads),
                    SPARSE_LOSS if by_blocks else "",
                    PAGES_LOSS if by_pages else "",
                    _stored_loss(kv_dtype),
                    demand.loss(eviction) if demand else "",
                    extension.loss if extension else "",
                ),
            )
        )
        if name == "exact" and loss:
            name = "beyond the window" if extension and loss == extension.loss else "as asked"
        return Rung(
            name,
            split,
            kv_dtype,
            chunk,
            kv,
            work,
            peak,
            loss,
            eviction=eviction,
            narrowed_bytes=narrowed,
            sparse=by_blocks,
            selects_pages=by_pages,
        )

    def given() -> Eviction | None:
        """What the user asked to evict, with room for chunks of the present size."""
        return next(iter(demand.evictions(chunk)), None) if demand and share_given else None

    chunk = chunk_tokens
    yield rung("exact", given())
    while chunk // 2 >= MIN_CHUNK_TOKENS:
        chunk //= 2
        yield rung(f"chunks of {chunk}", given())
    if limits.exact:
        return
    if limits.kv_dtype is None and shape.dtype == torch.float32:
        stored = "bfloat16"
        yield rung("bfloat16 KV", given())
    if limits.split is None and profile is not None:
        whole = rung("smallest so far", given())
        for count in range(1, profile.num_streaming + 1):
            split = profile.streaming(count)
            streaming = rung(f"{count} streaming head{'s' if count > 1 else ''}", given())
            if streaming.peak_bytes < whole.peak_bytes:
                yield streaming
            else:
                split = whole.split  # a short text, all of which a streaming head would hold while it is read
    asked = demand is not None and demand.asked
    least = rung("smallest so far", given())
    if limits.kv_dtype is None and not asked:
        for name in ("int8", "int4"):
            least = rung(f"{name} KV", kv_dtype=name)
            yield least
    if demand is None or share_given:
        return
    for eviction in demand.evictions(chunk):
        evicted = rung(f"{demand.share(eviction):.0%} kept", eviction)
        if evicted.peak_bytes < least.peak_bytes:
            yield evicted


def offloaded(
    shape: ModelShape,
    *,
    capacity_tokens: int,
    chunk_tokens: int,
    base_bytes: int,
    budget_bytes: int,
    limits: Limits,
) -> Iterator[Rung]:
    """The same reading with as few of the last decoder layers off the device as the budget asks, in small chunks; room
    for one layer stays, to stream the others through. None where that is not enough, or nothing is too much."""
    split, stored = limits.split or HeadSplit.exact(), limits.kv_dtype or "model"
    chunk = min(chunk_tokens, MIN_CHUNK_TOKENS)
    form = shape, split, capacity_tokens, stored, None, limits.extension
    kv = kv_bytes(*form, limits.selection)
    by_pages = limits.select_pages and kv > kv_bytes(*form)
    work = workspace_bytes(shape, min(chunk, capacity_tokens)) + window_bytes(shape, split, capacity_tokens)
    work += mark_bytes(shape, split, capacity_tokens, stored, extension=limits.extension)
    work += choosing_bytes(shape, chunk, capacity_tokens) if limits.sparse else 0
    over = base_bytes + shape.weights_bytes + kv + work - budget_bytes
    if over <= 0 or not shape.layer_bytes:
        return
    layers = -(-(over + shape.layer_bytes) // shape.layer_bytes)
    if layers >= shape.num_layers:
        return
    off_bytes = layers * shape.layer_bytes
    peak = budget_bytes + over - off_bytes + shape.layer_bytes
    beyond = limits.extension.loss if limits.extension else ""
    blocks, pages = SPARSE_LOSS if limits.sparse else "", PAGES_LOSS if by_pages else ""
    heads = _heads_loss(split, shape.num_open_heads)
    loss = "; ".join(filter(None, (heads, blocks, pages, _stored_loss(stored), beyond)))
    narrowed = narrowed_bytes(shape, split, capacity_tokens)
    sizes = chunk, kv, work, peak
    off = layers, off_bytes, None, narrowed
    yield Rung("weights offloaded", split, stored, *sizes, loss, *off, limits.sparse, by_pages)


def _heads_loss(split: HeadSplit, num_heads: int) -> str:
    streaming = split.num_streaming_heads
    if not streaming:
        return ""
    return (
        f"{streaming} of {num_heads} heads ({streaming / num_heads:.0%}) see only the first and last tokens"
    )


def _weights_loss(weights: str) -> str:
    bits = {"bf16": 16, "int8": 8, "int4": 4}.get(weights)
    return f"weights rounded to {bits} bits" if bits else ""


def _stored_loss(kv_dtype: str) -> str:
    bits = {"bfloat16": 16, "int8": 8, "int4": 4}.get(kv_dtype)
    return f"keys and values rounded to {bits} bits" if bits else ""
