"""Storage of a retrieval group with fewer bits: sinks and recent tokens in 16, all between in pages."""

from collections.abc import Iterator, Mapping

import torch

from lcdoc.engine.page_layout import PAGE_TOKENS, RECENT_TOKENS, SINK_TOKENS, num_pages
from lcdoc.engine.quantize import KEYS_AXIS, VALUES_AXIS, PageStore
from lcdoc.engine.selected_pages import SelectedPages
from lcdoc.kernels.pages import Pages

# Dequantised at a time while attending.
BLOCK_PAGES = 16

Pair = tuple[torch.Tensor, torch.Tensor]


class PagedBuffer:
    """Keeps every token, up to a fixed capacity; only blocks of BLOCK_PAGES are ever dequantised.

    The first SINK_TOKENS and at least the last RECENT_TOKENS stay in 16 bits.
    """

    def __init__(
        self,
        keys: torch.Tensor,
        values: torch.Tensor,
        bits: int,
        capacity_tokens: int,
        selected: SelectedPages | None = None,
    ) -> None:
        """keys, values: examples that give heads, head_dim, dtype and device. bits: 16, 8 or 4. selected: given, some
        pages alone are attended to while decoding."""
        pages = num_pages(capacity_tokens)
        self.kv_dtype = f"int{bits}" if bits < 16 else "bfloat16"
        self.selected = selected
        self._keys = PageStore(keys, KEYS_AXIS, bits, pages)
        self._values = PageStore(values, VALUES_AXIS, bits, pages)
        self._dtype = keys.dtype
        near = torch.bfloat16 if keys.dtype == torch.float32 else keys.dtype
        self._sinks, self._tail = (
            (_room(keys, tokens, near), _room(values, tokens, near))
            for tokens in (SINK_TOKENS, RECENT_TOKENS + PAGE_TOKENS)
        )
        self._num_pages = self._num_tail = 0
        self.seen_tokens = 0

    def parts(self) -> Iterator[Pair]:
        """Keys and values of all tokens, in blocks, in the model's dtype."""
        if self.seen_tokens:
            keys, values = (torch.cat(pair, dim=2) for pair in zip(*self.near(), strict=True))
            yield keys, values
        yield from self._pages()

    def near_room(self) -> tuple[Pair, Pair]:
        """All the room for sinks and for recent tokens, keys and values of each, in use or not."""
        return self._sinks, self._tail

    def room(self) -> tuple[Pages, Pages]:
        """All pages of keys and of values, in use or not."""
        pages = self._keys.capacity_pages
        return self._keys.view(0, pages), self._values.view(0, pages)

    @property
    def num_pages(self) -> int:
        """Full pages."""
        return self._num_pages

    @property
    def next_fills_page(self) -> bool:
        """Whether the next token moves others out of the tail."""
        return self._num_tail + 1 >= RECENT_TOKENS + PAGE_TOKENS

    def advance(self) -> None:
        """Counts a token that was written to the tail's next place from outside."""
        assert not self.next_fills_page
        self.seen_tokens += 1
        self._num_tail += 1

    def stored(self) -> tuple[Pages, Pages]:
        """The full pages of keys and of values as they are stored."""
        return self._keys.view(0, self._num_pages), self._values.view(0, self._num_pages)

    def blocks(self) -> Iterator[Pair]:
        """As `parts`, but in order."""
        sinks, tail = self.near()
        yield sinks
        yield from self._pages()
        yield tail

    def _pages(self) -> Iterator[Pair]:
        for first in range(0, self._num_pages, BLOCK_PAGES):
            stop = min(first + BLOCK_PAGES, self._num_pages)
            yield self._keys.read(first, stop, self._dtype), self._values.read(first, stop, self._dtype)

    def near(self) -> Iterator[Pair]:
        """Keys and values outside the pages: of the first tokens, then of the last ones."""
        for tensors, length in (
            (self._sinks, min(self.seen_tokens, SINK_TOKENS)),
            (self._tail, self._num_tail),
        ):
            keys, values = (tensor[:, :, :length].to(self._dtype) for tensor in tensors)
            yield keys, values

    def page_keys(self, first_page: int, stop_page: int) -> torch.Tensor:
        """[1, kv_heads, tokens, head_dim], as they are attended to."""
        return self._keys.read(first_page, stop_page, self._dtype)

    def take(self, pages: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Dequantises each head's own pages, [kv_heads, pages], into keys and values."""
        keys.copy_(self._keys.read_some(pages, self._dtype))
        values.copy_(self._values.read_some(pages, self._dtype))

    def append(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        num_new = keys.shape[2]
        num_sinks = min(max(SINK_TOKENS - self.seen_tokens, 0), num_new)
        if num_sinks:
            span = slice(self.seen_tokens, self.seen_tokens + num_sinks)
            self._sinks[0][:, :, span] = keys[:, :, :num_sinks]
            self._sinks[1][:, :, span] = values[:, :, :num_sinks]
        self.seen_tokens += num_new
        if num_new > num_sinks:
            self._append_tail(keys[:, :, num_sinks:], values[:, :, num_sinks:])

    def _append_tail(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        total = self._num_tail + keys.shape[2]
        full = max(0, total - RECENT_TOKENS) // PAGE_TOKENS
        for tail, new, store in zip(self._tail, (keys, values), (self._keys, self._values), strict=True):
            if full:
                run = torch.cat((tail[:, :, : self._num_tail].to(new.dtype), new), dim=2)
                store.write(self._num_pages, run[:, :, : full * PAGE_TOKENS])
                tail[:, :, : total - full * PAGE_TOKENS] = run[:, :, full * PAGE_TOKENS :]
            else:
                tail[:, :, self._num_tail : total] = new
        self._num_pages += full
        self._num_tail = total - full * PAGE_TOKENS

    def gained(self, start: int) -> dict[str, torch.Tensor]:
        """What the tokens from `start` on have left: pages that became full, and all of the tail."""
        sinks = slice(min(start, SINK_TOKENS), min(self.seen_tokens, SINK_TOKENS))
        gained: dict[str, torch.Tensor] = {}
        for name, store, sink, tail in self._stores():
            pages = store.pages(num_pages(start), self._num_pages)
            gained |= {f"{name}_{part}": tensor for part, tensor in pages.items()}
            gained |= {f"{name}_sinks": sink[:, :, sinks], f"{name}_tail": tail[:, :, : self._num_tail]}
        return gained

    def put(self, num_tokens: int, gained: Mapping[str, torch.Tensor]) -> None:
        """Takes what num_tokens, which come next, have left elsewhere."""
        stop = self.seen_tokens + num_tokens
        sinks = slice(min(self.seen_tokens, SINK_TOKENS), min(stop, SINK_TOKENS))
        stop_page = num_pages(stop)
        num_tail = max(0, stop - SINK_TOKENS - stop_page * PAGE_TOKENS)
        for name, store, sink, tail in self._stores():
            for part, tensor in store.pages(self._num_pages, stop_page).items():
                tensor.copy_(gained[f"{name}_{part}"])
            sink[:, :, sinks] = gained[f"{name}_sinks"]
            tail[:, :, :num_tail] = gained[f"{name}_tail"]
        self.seen_tokens, self._num_pages, self._num_tail = stop, stop_page, num_tail

    def _stores(self) -> Iterator[tuple[str, PageStore, torch.Tensor, torch.Tensor]]:
        yield "keys", self._keys, self._sinks[0], self._tail[0]
        yield "values", self._values, self._sinks[1], self._tail[1]

    def mark(self) -> tuple[int, int, int, Pair]:
        tail = self._tail[0].clone(), self._tail[1].clone()
        return self.seen_tokens, self._num_pages, self._num_tail, tail

    def rewind(self, mark: object) -> None:
        assert isinstance(mark, tuple)
        self.seen_tokens, self._num_pages, self._num_tail, tail = mark
        for now, then in zip(self._tail, tail, strict=True):
            now.copy_(then)
        if self.selected is not None:
            self.selected.rewind(self.seen_tokens)

    @property
    def mark_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self._tail)

    def kept_tokens(self, start: int, stop: int) -> int:
        return max(0, min(stop, self.seen_tokens) - start)

    @property
    def nbytes(self) -> int:
        near = min(self.seen_tokens, SINK_TOKENS) + self._num_tail
        pages = self._keys.nbytes(self._num_pages) + self._values.nbytes(self._num_pages)
        chosen = self.selected.nbytes if self.selected is not None else 0
        return chosen + pages + sum(tensor[:, :, :1].nbytes * near for tensor in self._tail)

    @property
    def capacity_bytes(self) -> int:
        pages = sum(store.nbytes(store.capacity_pages) for store in (self._keys, self._values))
        chosen = self.selected.capacity_bytes if self.selected is not None else 0
        return chosen + pages + sum(tensor.nbytes for tensor in (*self._sinks, *self._tail))


def _room(example: torch.Tensor, tokens: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.empty(*example.shape[:2], tokens, example.shape[-1], dtype=dtype, device=example.device)
