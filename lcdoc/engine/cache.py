"""lcdoc's cache: for each layer, one buffer per head group, filled by the attention function itself."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from lcdoc.engine.attention_mass import AttentionMass
from lcdoc.engine.attention_trace import AttentionTrace
from lcdoc.engine.buffers import FullBuffer, SinkWindowBuffer
from lcdoc.engine.checkpoint import LayerForm
from lcdoc.engine.evicting_buffer import EvictingBuffer
from lcdoc.engine.eviction import Eviction
from lcdoc.engine.eviction.allocation import choose_kept
from lcdoc.engine.extension import Extension
from lcdoc.engine.grouped_buffer import GroupedBuffer
from lcdoc.engine.heads import HeadGroup, HeadSplit
from lcdoc.engine.page_layout import num_pages
from lcdoc.engine.page_selection import PageSelection
from lcdoc.engine.paged_buffer import PagedBuffer
from lcdoc.engine.rolling_buffer import RollingBuffer
from lcdoc.engine.rope import Rotation
from lcdoc.engine.selected_pages import SelectedPages
from lcdoc.engine.sparse_prefill import SparsePrefill
from lcdoc.engine.static_step import StaticStep
from lcdoc.errors import ModelError

CacheMark = tuple[bool, list[list[object]]]
Buffer = FullBuffer | GroupedBuffer | SinkWindowBuffer | PagedBuffer | EvictingBuffer

# How a retrieval head's keys and values may be stored; "model" is the dtype the model computes in.
KV_BITS = {"bfloat16": 16, "int8": 8, "int4": 4}
KV_DTYPES = ("model", *KV_BITS)


class LayerCache(CacheLayerMixin):
    """The keys and values of one layer.

    `update` passes the new keys through, tagged with this layer; the attention function then appends, attends
    and drops group by group, so that nothing is ever held twice.
    """

    is_sliding = False

    def __init__(
        self,
        layer_idx: int,
        split: HeadSplit,
        capacity_tokens: int,
        kv_dtype: str,
        eviction: Eviction | None = None,
        rotation: Rotation | None = None,
        extension: Extension | None = None,
        rolling_tokens: int | None = None,
    ) -> None:
        super().__init__()
        self.rotation, self.extension, self.rolling_tokens = rotation, extension, rolling_tokens
        self.layer_idx, self.split = layer_idx, split
        self.capacity_tokens, self.kv_dtype, self.eviction = capacity_tokens, kv_dtype, eviction
        self.observing = False  # whether the queries of the pass under way are evidence for eviction
        self.mass: AttentionMass | None = None  # what watches the queries of the pass under way
        self.sparse: SparsePrefill | None = None  # how heads that hold everything may be read by blocks
        self.selection: PageSelection | None = None  # how heads that hold everything may be decoded by pages
        self.trace: AttentionTrace | None = None  # what watches the query of each step of decoding
        self.step: StaticStep | None = (
            None  # what attends in place of the usual way, in a step that can be captured
        )
        self.form: LayerForm | None = None  # as the model turned out to be, once there are buffers
        self._groups: list[tuple[HeadGroup, Buffer]] = []

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Buffers are made by `groups`, which alone knows the layer's window."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        key_states.lcdoc_layers = (self,)  # type: ignore[attr-defined]
        return key_states, value_states

    def groups(
        self, key: torch.Tensor, value: torch.Tensor, sliding_window: int | None
    ) -> list[tuple[HeadGroup, Buffer]]:
        """The layer's head groups with their buffers, allocated at the first call.

        key, value: [1, num_kv_heads, length, head_dim] as the model made them. sliding_window: the layer's own.
        """
        if not self._groups:
            if key.shape[0] != 1:
                raise ValueError(f"batch size {key.shape[0]}: a document is read by itself, as a batch of 1")
            self.form = LayerForm.of(key, value, sliding_window)
            for group in self.split.groups(self.layer_idx, key.shape[1], sliding_window):
                example = key[:, : len(group.kv_heads)], value[:, : len(group.kv_heads)]
                self._groups.append((group, self.new_buffer(group, *example)))
        return self._groups

    def new_buffer(self, group: HeadGroup, keys: torch.Tensor, values: torch.Tensor) -> Buffer:
        """keys, values: examples that give heads, head_dim, dtype and device."""
        if self.rolling_tokens is not None:
            assert group.recent_size is None and self.kv_dtype == "model"
            return RollingBuffer(keys, values, self.capacity_tokens, self.rolling_tokens, self.rotation)
        turning = self.extension if self.extension is not None and self.extension.turns else None
        if group.recent_size is None:
            if turning is not None and turning.grouping is not None:
                assert self.eviction is None and self.kv_dtype == "model"
                return GroupedBuffer(keys, values, self.capacity_tokens, turning.grouping, self.rotation)
            bits = KV_BITS.get(self.kv_dtype)
            if self.eviction is not None and self.eviction.keep_tokens < self.capacity_tokens:
                near = torch.bfloat16 if bits == 16 else keys.dtype
                weights = self.eviction.head_weights
                own = None if weights is None else [weights[self.layer_idx][head] for head in group.kv_heads]
                sizes = self.capacity_tokens, near
                return EvictingBuffer(keys, values, self.eviction, *sizes, self.rotation, own)
            if bits is not None and bits < keys.itemsize * 8:
                selected = self._selected(keys, values)
                return PagedBuffer(keys, values, bits, self.capacity_tokens, selected)
            return FullBuffer(keys, values, self.capacity_tokens, self._selected(keys, values))
        if group.sink_size + group.recent_size < self.capacity_tokens:
            most = self.capacity_tokens - group.sink_size
            reach = None
            if turning is not None and group.sink_size:
                most = min(most, turning.window_tokens - group.sink_size)
                reach = turning.window_tokens, self.rotation
            recent_size = min(group.prefill_recent_size or group.recent_size, most)
            return SinkWindowBuffer(keys, values, group.sink_size, recent_size, reach)
        return FullBuffer(keys, values, self.capacity_tokens)

    def _selected(self, keys: torch.Tensor, values: torch.Tensor) -> SelectedPages | None:
        """For a buffer that may come to hold more pages than are attended to."""
        selection = self.selection
        if selection is None or self.layer_idx < selection.dense_layers:
            return None
        if not selection.selects(num_pages(self.capacity_tokens)):
            return None
        return SelectedPages(keys, values, self.capacity_tokens, selection)

    @property
    def buffers(self) -> list[tuple[HeadGroup, Buffer]]:
        """The head groups and their buffers, more than one streaming group where heads came to stream one after
        another; empty before the first token."""
        return self._groups

    def get_seq_length(self) -> int:
        """Tokens seen, held or not: what positions are counted from."""
        return self._groups[0][1].seen_tokens if self._groups else 0

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        return self.capacity_tokens

    def mark(self) -> list[object]:
        return [buffer.mark() for _, buffer in self._groups]

    def rewind(self, marks: list[object]) -> None:
        if not marks:  # made before the first token, and thus before the buffers
            self._groups.clear()
        for (_, buffer), mark in zip(self._groups, marks, strict=True):
            buffer.rewind(mark)

    @property
    def nbytes(self) -> int:
        return sum(buffer.nbytes for _, buffer in self._groups)

    @property
    def capacity_bytes(self) -> int:
        return sum(buffer.capacity_bytes for _, buffer in self._groups)


class DocumentCache(Cache):
    """The keys and values of one document, in all layers."""

    layers: list[LayerCache]  # type: ignore[assignment]

    def __init__(
        self,
        num_layers: int,
        split: HeadSplit,
        capacity_tokens: int,
        kv_dtype: str = "model",
        eviction: Eviction | None = None,
        rotation: Rotation | None = None,
        extension: Extension | None = None,
        rolling_tokens: int | None = None,
        sparse: SparsePrefill | None = None,
        selection: PageSelection | None = None,
    ) -> None:
        """capacity_tokens: the most tokens that will ever be seen; buffers are allocated once, for these.
        kv_dtype: one of KV_DTYPES, for the retrieval heads; heads of fixed size stay in the model's dtype.
        eviction: what retrieval heads may drop, when `evict` is called; None for nothing. rotation: the model's, needed
        to close gaps, where all heads must be retrieval heads, and by an extension that turns keys.
        rolling_tokens: given, the text has no end, and `keep` leaves at most so many tokens of it, without gaps; then
        capacity_tokens are the most held at any time. sparse: how a document may be read by blocks.
        selection: how retrieval heads may be decoded by pages."""
        self.sparse, self.selection = sparse, selection
        self.kv_dtype, self.eviction = kv_dtype, eviction
        self.narrowed = False  # whether the document is read, and with it the time of wider windows over
        layers: list[Any] = [
            LayerCache(idx, split, capacity_tokens, kv_dtype, eviction, rotation, extension, rolling_tokens)
            for idx in range(num_layers)
        ]
        for layer in layers:
            layer.sparse, layer.selection = sparse, selection
        super().__init__(layers=layers)

    def mark(self) -> CacheMark:
        """A point to return to with `rewind`."""
        return self.narrowed, [layer.mark() for layer in self.layers]

    def rewind(self, mark: CacheMark) -> None:
        """Forgets all that was read since the mark, exactly."""
        self.narrowed, layers = mark
        for layer, marks in zip(self.layers, layers, strict=True):
            layer.rewind(marks)

    def keep(self, indices: torch.Tensor) -> None:
        """Of a text without end drops all tokens but these, [length] and rising, counted among those held."""
        for _, buffer in self.groups():
            assert isinstance(buffer, RollingBuffer)
            buffer.keep(indices.to(buffer.keys.device))

    def gained(self, start: int) -> dict[str, torch.Tensor]:
        """What the tokens from `start` on have left in all buffers, in part as views; nothing may have been dropped."""
        tensors = {}
        for layer in self.layers:
            for index, (_, buffer) in enumerate(layer.buffers):
                assert not isinstance(buffer, EvictingBuffer), (
                    "what is dropped depends on more than these tokens"
                )
                for name, tensor in buffer.gained(start).items():
                    tensors[f"{layer.layer_idx}.{index}.{name}"] = tensor
        return tensors

    def put(
        self,
        num_tokens: int,
        forms: Sequence[LayerForm | None],
        tensors: Mapping[str, torch.Tensor],
        device: torch.device,
    ) -> None:
        """Takes what num_tokens, which come next, have left in a cache of the same kind after the same tokens. forms:
        of the layers, None for one without buffers. device: for the first buffers."""
        for layer, form in zip(self.layers, forms, strict=True):
            groups = layer.groups(*form.examples(device), form.window) if form else []
            for index, (_, buffer) in enumerate(groups):
                assert not isinstance(buffer, EvictingBuffer)
                own = f"{layer.layer_idx}.{index}."
                names = [name for name in tensors if name.startswith(own)]
                buffer.put(num_tokens, {name.removeprefix(own): tensors[name] for name in names})

    @contextmanager
    def reading(self) -> Iterator[None]:
        """While it is open the passes read the document, where that may be done by blocks."""
        if self.sparse is None:
            yield
            return
        self.sparse.active = True
        try:
            yield
        finally:
            self.sparse.active = False

    @contextmanager
    def decoding(self) -> Iterator[None]:
        """While it is open the passes decode, where that may be done by pages."""
        if self.selection is None:
            yield
            return
        self.selection.active = True
        try:
            yield
        finally:
            self.selection.active = False

    def observe(self, observing: bool) -> None:
        """Whether the queries of the passes to come are evidence for eviction."""
        for layer in self.layers:
            layer.observing = observing

    def watch(self, mass: AttentionMass | None) -> None:
        """What watches the queries of the passes to come, in heads that hold everything as the model computed it."""
        for layer in self.layers:
            layer.mass = mass

    def follow(self, trace: AttentionTrace | None) -> None:
        """What watches the steps of decoding to come, in heads that hold everything."""
        for layer in self.layers:
            layer.trace = trace

    def narrow(self) -> None:
        """Ends the reading of the document: streaming heads that had a wider window for it go on with their own."""
        for group, buffer in self.groups():
            if isinstance(buffer, SinkWindowBuffer) and group.prefill_recent_size is not None:
                assert group.recent_size is not None
                if buffer.recent_size > group.recent_size:
                    buffer.narrow(group.recent_size)
        self.narrowed = True

    @property
    def next_position(self) -> int:
        """Where the next token stands for the model: after all that was seen, or after what is held without gaps."""
        evicting = self.evicting
        return evicting[0].next_position if evicting else self.get_seq_length()

    def forget_scores(self) -> None:
        """Before a new round of observing."""
        for buffer in self.evicting:
            buffer.forget_scores()

    @property
    def evicting(self) -> list[EvictingBuffer]:
        """The buffers that drop tokens; none before the first token."""
        return [buffer for _, buffer in self.groups() if isinstance(buffer, EvictingBuffer)]

    def evict(self) -> None:
        """Drops the tokens with the lowest scores, over all layers and heads, until what is kept is what it may be.
        Where that is not yet reached nothing is dropped; the tails are emptied in either case."""
        assert self.eviction is not None
        buffers = self.evicting
        scores, protected = [], []
        for buffer in buffers:
            found = buffer.candidates()
            scores += found[0]
            protected += found[1]
        shares = self.eviction.policy.shares and not self.eviction.close_gaps
        masks = choose_kept(scores, protected, self.eviction.keep_tokens, shares)
        for buffer in buffers:
            buffer.keep(masks[: buffer.num_heads])
            del masks[: buffer.num_heads]

    @property
    def nbytes(self) -> int:
        """Bytes of all keys and values held."""
        return sum(layer.nbytes for layer in self.layers)

    def groups(self) -> Iterator[tuple[HeadGroup, Buffer]]:
        """All head groups with their buffers; none before the first token."""
        for layer in self.layers:
            yield from layer.buffers


def layers_of(key: torch.Tensor) -> Sequence[LayerCache]:
    """The layer whose `update` passed this key tensor through; of several caches one for each row of the batch."""
    layers: Sequence[LayerCache] | None = getattr(key, "lcdoc_layers", None)
    if layers is None:
        raise ModelError(
            "this model's architecture is not supported: it attends without the cache it was given, or changes keys "
            "after the cache saw them; choose another model"
        )
    return layers
