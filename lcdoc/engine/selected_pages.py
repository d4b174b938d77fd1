"""Of one buffer: what bounds its pages' keys, and copies of the pages that are attended to until others are chosen."""

from collections.abc import Iterator
from typing import Protocol

import torch

from lcdoc.engine.page_layout import PAGE_TOKENS, RECENT_TOKENS, SINK_TOKENS, num_pages
from lcdoc.engine.page_selection import PageSelection
from lcdoc.kernels.page_score import block_bounds, page_score
from lcdoc.kernels.page_score.naive import PAGE_BLOCKS

# Bounded or copied at a time.
BLOCK_PAGES = 64

Pair = tuple[torch.Tensor, torch.Tensor]


class Pages(Protocol):
    """What a buffer tells of its pages. Keys and values are [1, kv_heads, length, head_dim]."""

    seen_tokens: int

    def near(self) -> Iterator[Pair]:
        """Keys and values of the first tokens and of the last ones, which are in no page."""

    def page_keys(self, first_page: int, stop_page: int) -> torch.Tensor:
        """Keys of the pages first_page..stop_page-1."""

    def take(self, pages: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Copies each head's pages, [kv_heads, pages], into keys and values."""


class SelectedPages:
    """Made once, for the most tokens that the buffer will ever see; bounds are made when they are first needed."""

    def __init__(
        self, keys: torch.Tensor, values: torch.Tensor, capacity_tokens: int, selection: PageSelection
    ) -> None:
        """keys, values: examples that give heads, head_dim, dtype and device."""
        self.selection = selection
        pages = num_pages(capacity_tokens)
        self._least = keys.new_empty(keys.shape[1], pages * PAGE_BLOCKS, keys.shape[-1])
        self._most = torch.empty_like(self._least)
        near_tokens = SINK_TOKENS + RECENT_TOKENS + PAGE_TOKENS - 1 + selection.every_steps
        room = near_tokens + selection.count(pages) * PAGE_TOKENS
        self._keys = keys.new_empty(*keys.shape[:2], room, keys.shape[-1])
        self._values = values.new_empty(*values.shape[:2], room, values.shape[-1])
        self._num_bounded = self._num_copied = 0
        # The copies are of these pages, [kv_heads, pages], the first tokens, and all since those up to _stop.
        self._chosen = torch.empty(keys.shape[1], 0, dtype=torch.long, device=keys.device)
        self._chosen_at = self._stop = 0

    def serves(self, num_new: int, seen_tokens: int) -> bool:
        """Whether so many tokens after those seen attend to selected pages."""
        return self.selection.active and num_new == 1 and self.selection.selects(num_pages(seen_tokens + 1))

    def attended(self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, buffer: Pages) -> Pair:
        """What the last token attends to, itself included. query: [1, heads, 1, head_dim]; keys, values: its own."""
        seen = buffer.seen_tokens
        if self._stop == seen - 1 and seen - self._chosen_at < self.selection.every_steps:
            self._add(keys, values)
        else:
            self._choose(query, buffer)
            self._chosen_at = seen
        self._stop = seen
        self.selection.add(self._num_copied, seen)
        return self._keys[:, :, : self._num_copied], self._values[:, :, : self._num_copied]

    def stands(self, seen_tokens: int) -> bool:
        """Whether the last of so many tokens attended to selected pages."""
        return self._stop == seen_tokens

    def keys(self) -> Pair:
        """What it attended to, [1, kv_heads, length, head_dim], and where that stands, [kv_heads, length]."""
        offsets = torch.arange(PAGE_TOKENS, device=self._chosen.device)
        in_pages = (SINK_TOKENS + self._chosen[:, :, None] * PAGE_TOKENS + offsets).flatten(1)
        first = SINK_TOKENS + num_pages(self._chosen_at) * PAGE_TOKENS
        spans = (0, SINK_TOKENS), (first, self._stop)
        near = (torch.arange(*span, device=offsets.device).expand(len(in_pages), -1) for span in spans)
        positions = torch.cat((in_pages, *near), dim=1)
        return self._keys[:, :, : self._num_copied], positions

    def rewind(self, seen_tokens: int) -> None:
        """When the buffer has forgotten all but so many tokens."""
        self._num_bounded = min(self._num_bounded, num_pages(seen_tokens))
        self._num_copied = self._stop = 0

    def _choose(self, query: torch.Tensor, buffer: Pages) -> None:
        pages = num_pages(buffer.seen_tokens)
        self._bound(buffer, pages)
        bounds = (bound[:, : pages * PAGE_BLOCKS] for bound in (self._least, self._most))
        scores = page_score(query, *bounds)  # [kv_heads, pages]
        self._chosen = scores.topk(self.selection.count(pages), sorted=False).indices
        self._num_copied = 0
        for some in self._chosen.split(BLOCK_PAGES, dim=1):
            span = slice(self._num_copied, self._num_copied + some.shape[1] * PAGE_TOKENS)
            buffer.take(some, self._keys[:, :, span], self._values[:, :, span])
            self._num_copied = span.stop
        for keys, values in buffer.near():
            self._add(keys, values)

    def _bound(self, buffer: Pages, pages: int) -> None:
        """Of the pages that became full since the last time."""
        for first in range(self._num_bounded, pages, BLOCK_PAGES):
            stop = min(first + BLOCK_PAGES, pages)
            span = slice(first * PAGE_BLOCKS, stop * PAGE_BLOCKS)
            self._least[:, span], self._most[:, span] = block_bounds(buffer.page_keys(first, stop))
        self._num_bounded = pages

    def _add(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        span = slice(self._num_copied, self._num_copied + keys.shape[2])
        self._keys[:, :, span], self._values[:, :, span] = keys, values
        self._num_copied = span.stop

    @property
    def nbytes(self) -> int:
        bounds = sum(
            bound[:, : self._num_bounded * PAGE_BLOCKS].nbytes for bound in (self._least, self._most)
        )
        return bounds + sum(copy[:, :, : self._num_copied].nbytes for copy in (self._keys, self._values))

    @property
    def capacity_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in (self._least, self._most, self._keys, self._values))
