"""One step of decoding in which no shape, address or launch depends on how much was read, so that it can be captured.

Where the new token goes and how many are seen stands in tensors on the device; attention reads them there.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from lcdoc.engine.attention_trace import AttentionTrace
from lcdoc.engine.buffers import FullBuffer, SinkWindowBuffer
from lcdoc.engine.heads import HeadGroup
from lcdoc.engine.page_layout import PAGE_TOKENS, SINK_TOKENS, num_pages
from lcdoc.engine.paged_buffer import PagedBuffer
from lcdoc.engine.parts import Part
from lcdoc.kernels.attend import attend, merge
from lcdoc.kernels.paged_decode import paged_decode
from lcdoc.kernels.pages import Pages
from lcdoc.kernels.support import MAX_HEAD_DIM

if TYPE_CHECKING:
    from lcdoc.engine.cache import DocumentCache


class Note(NamedTuple):
    """query: [1, heads, 1, head_dim] of one group, lse: [1, heads, 1]; a graph writes them anew at each replay."""

    layer_idx: int
    kv_heads: tuple[int, ...]
    buffer: Any
    query: torch.Tensor
    lse: torch.Tensor
    scale: float


# Where a buffer's next token goes, int64 [1], and how many are seen with it, int32 [kv_heads].
Place = tuple[torch.Tensor, torch.Tensor]


class StaticStep:
    """One token through a model, with a cache whose buffers allow it."""

    def __init__(self, model: Any, cache: "DocumentCache") -> None:
        self._model, self._cache = model, cache
        self._token_id, self._position = (
            torch.zeros(1, 1, dtype=torch.int64, device=model.device) for _ in range(2)
        )
        self._seen, self._num_pages = (
            torch.zeros(1, dtype=torch.int64, device=model.device) for _ in range(2)
        )
        self._places: dict[tuple[object, ...], Place] = {}  # of this step, by the sizes that they follow from
        self._notes: list[Note] = []

    def is_allowed(self) -> bool:
        """Whether all buffers can take the next token so."""
        buffers = [buffer for _, buffer in self._cache.groups()]
        return not self._caps_scores and bool(buffers) and all(_takes_next(buffer) for buffer in buffers)

    def why_never(self) -> str | None:
        """What is in the way for all tokens to come, and what could be done; None where it passes: a page that is
        about to be full, or the last tokens that there is room for."""
        if self._caps_scores:
            return "the model caps its attention scores, which no kernel does"
        reasons = (_why_never(buffer) for _, buffer in self._cache.groups())
        return next(filter(None, reasons), None)

    @property
    def _caps_scores(self) -> bool:
        config = self._model.config.get_text_config()
        return getattr(config, "attn_logit_softcapping", None) is not None

    def addresses(self) -> tuple[int, ...]:
        """Of all that a captured step would write to."""
        return tuple(tensor.data_ptr() for _, buffer in self._cache.groups() for tensor in _tensors(buffer))

    def set(self, token_id: int, position: torch.Tensor) -> None:
        """What the next `forward` reads. position: int64 [1], where the token stands for the model."""
        self._token_id.fill_(token_id)
        self._position.copy_(position[None])
        self._seen.fill_(self._cache.get_seq_length())
        paged = [buffer for _, buffer in self._cache.groups() if isinstance(buffer, PagedBuffer)]
        self._num_pages.fill_(paged[0].num_pages if paged else 0)

    def forward(self) -> torch.Tensor:
        """The logits after the token, [vocab]. Done again it does the same; `advance` takes the token as read."""
        self._places, self._notes = {}, []
        for layer in self._cache.layers:
            layer.step = self
        try:
            result = self._model(
                input_ids=self._token_id,
                position_ids=self._position,
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            )
        finally:
            for layer in self._cache.layers:
                layer.step = None
        logits: torch.Tensor = result.logits[0, -1]
        return logits

    def advance(self) -> None:
        for _, buffer in self._cache.groups():
            assert isinstance(buffer, FullBuffer | SinkWindowBuffer | PagedBuffer)
            buffer.advance()

    def note(
        self,
        layer_idx: int,
        group: HeadGroup,
        buffer: Any,
        query: torch.Tensor,
        lse: torch.Tensor,
        scale: float,
    ) -> None:
        """Keeps what was asked where everything is held, for who watches the step; shapes as for attend_buffer."""
        if not isinstance(buffer, SinkWindowBuffer):
            self._notes.append(Note(layer_idx, group.kv_heads, buffer, query, lse, scale))

    def tell(self, trace: AttentionTrace) -> None:
        """Lets it see what the token that was just taken as read attended to."""
        for note in self._notes:
            key_blocks = (keys for keys, _ in note.buffer.blocks())
            trace.observe(
                note.layer_idx, note.kv_heads, note.query, key_blocks, note.lse, note.scale, softcap=None
            )

    def attend(
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, buffer: Any, scale: float
    ) -> Part:
        """One query's attention over what the buffer holds and itself; shapes as for attend_buffer."""
        if isinstance(buffer, PagedBuffer):
            slot, num_held = self._place("tail", keys.shape[1], 0, 0)
            sinks, tail = buffer.near_room()
            _write(tail, slot, keys, values)
            _, num_stored = self._place("pages", keys.shape[1], 0, 0)
            parts = [
                attend(query, *(tensor.to(query.dtype) for tensor in sinks), scale=scale),
                paged_decode(query, *_as_pages(tail), num_held, scale=scale),
                paged_decode(query, *buffer.room(), num_stored, scale=scale),
            ]
            return merge(parts)
        room = buffer.keys, buffer.values
        if isinstance(buffer, SinkWindowBuffer):
            slot, num_held = self._place("ring", keys.shape[1], buffer.sink_size, buffer.recent_size)
        else:
            slot, num_held = self._place("whole", keys.shape[1], 0, 0)
        _write(room, slot, keys, values)
        return paged_decode(query, *_as_pages(room), num_held, scale=scale)

    def _place(self, kind: str, kv_heads: int, sink_size: int, recent_size: int) -> Place:
        sizes = kind, kv_heads, sink_size, recent_size
        if sizes not in self._places:
            seen = self._seen
            if kind == "whole":
                slot, num_held = seen, seen + 1
            elif kind == "ring":
                slots = sink_size + recent_size
                slot = torch.where(seen < slots, seen, sink_size + (seen - sink_size) % recent_size)
                num_held = (seen + 1).clamp(max=slots)
            elif kind == "tail":
                slot = seen - SINK_TOKENS - self._num_pages * PAGE_TOKENS
                num_held = slot + 1
            else:
                slot, num_held = seen, self._num_pages * PAGE_TOKENS
            self._places[sizes] = slot, num_held.to(torch.int32).repeat(kv_heads)
        return self._places[sizes]


def _takes_next(buffer: Any) -> bool:
    """Whether the buffer's next token goes to one place, and what is held then fills pages as kernels see them."""
    if isinstance(buffer, SinkWindowBuffer):
        fits = not buffer.turns_queries and buffer.keys.shape[2] % PAGE_TOKENS == 0
    elif isinstance(buffer, PagedBuffer) and _sees_all(buffer):
        fits = buffer.seen_tokens >= SINK_TOKENS and not buffer.next_fills_page
    elif type(buffer) is FullBuffer and _sees_all(buffer):
        fits = buffer.seen_tokens < buffer.keys.shape[2] // PAGE_TOKENS * PAGE_TOKENS
    else:
        return False
    key_dim, value_dim = (tensor.shape[-1] for tensor in _tensors(buffer)[:2])
    return fits and key_dim == value_dim <= MAX_HEAD_DIM and key_dim % 2 == 0


def _why_never(buffer: Any) -> str | None:
    if isinstance(buffer, SinkWindowBuffer):
        slots = buffer.keys.shape[2]
        if buffer.turns_queries:
            return "positions beyond the model's window are turned for every token"
        if slots % PAGE_TOKENS:
            return (
                f"{slots} tokens that streaming heads keep are no multiple of {PAGE_TOKENS}; choose --sink-size and "
                f"--recent-size so that they are"
            )
    elif not isinstance(buffer, PagedBuffer) and type(buffer) is not FullBuffer:
        return "heads that drop tokens, or turn them to other positions, are in no pages"
    elif not _sees_all(buffer):
        return "pages are chosen anew while it answers; --page-selection off attends to all of them"
    key_dim, value_dim = (tensor.shape[-1] for tensor in _tensors(buffer)[:2])
    if key_dim != value_dim or key_dim > MAX_HEAD_DIM or key_dim % 2:
        return f"no kernel takes heads of {key_dim} and {value_dim} channels"
    return None


def _sees_all(buffer: FullBuffer | PagedBuffer) -> bool:
    """Whether the next token attends to everything, and not to pages that are chosen for it."""
    selected = buffer.selected
    return selected is None or not selected.selection.selects(num_pages(buffer.seen_tokens + 1))


def _tensors(buffer: Any) -> tuple[torch.Tensor, ...]:
    """All that a step reads and writes; keys and values first."""
    if isinstance(buffer, PagedBuffer):
        sinks, tail = buffer.near_room()
        return (*tail, *sinks, *(pages.codes for pages in buffer.room()))
    return buffer.keys, buffer.values


def _write(
    room: tuple[torch.Tensor, torch.Tensor], slot: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
) -> None:
    for tensor, new in zip(room, (keys, values), strict=True):
        tensor.index_copy_(2, slot, new.to(tensor.dtype))


def _as_pages(room: tuple[torch.Tensor, torch.Tensor]) -> tuple[Pages, Pages]:
    return Pages.plain(room[0], PAGE_TOKENS), Pages.plain(room[1], PAGE_TOKENS)
