"""Storage for the keys and values of one head group, allocated once.

Keys arrive already rotated at their absolute positions. Tensors are
[1, kv_heads, length, head_dim]; values may have a head_dim of their own. Every buffer can append the next tokens,
mark a point and rewind to it, count the tokens that it still holds of a span, and tell in bytes what it holds
(nbytes), what it was made for (capacity_bytes) and what a mark takes besides (mark_bytes). Those that drop nothing but
what lies between first and last tokens can also give out what the tokens since a point have left (`gained`), and take
it again (`put`), bit by bit, after the same tokens.
"""

from collections.abc import Iterator, Mapping

import torch

from lcdoc.engine.page_layout import PAGE_TOKENS, SINK_TOKENS, num_pages
from lcdoc.engine.rope import Rotation
from lcdoc.engine.selected_pages import SelectedPages
from lcdoc.kernels.pages import Pages

# Taken at a time where a buffer is moved into another.
BLOCK_TOKENS = 1024


class FullBuffer:
    """Keeps every token, up to a fixed capacity."""

    kv_dtype = "model"

    def __init__(
        self,
        keys: torch.Tensor,
        values: torch.Tensor,
        capacity_tokens: int,
        selected: SelectedPages | None = None,
    ) -> None:
        """keys, values: examples that give heads, head_dim, dtype and device. selected: given, some pages alone are
        attended to while decoding."""
        self.selected = selected
        self.keys = keys.new_empty(*keys.shape[:2], capacity_tokens, keys.shape[-1])
        self.values = values.new_empty(*values.shape[:2], capacity_tokens, values.shape[-1])
        self.seen_tokens = 0

    def append(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        stop = self.seen_tokens + keys.shape[2]
        assert stop <= self.keys.shape[2], f"{stop} tokens in a buffer made for {self.keys.shape[2]}"
        self.keys[:, :, self.seen_tokens : stop] = keys
        self.values[:, :, self.seen_tokens : stop] = values
        self.seen_tokens = stop

    def advance(self) -> None:
        """Counts a token that was written to its place from outside."""
        self.seen_tokens += 1

    def held(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of all tokens, in order."""
        return self.keys[:, :, : self.seen_tokens], self.values[:, :, : self.seen_tokens]

    def blocks(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """As `held`, a block at a time."""
        for start in range(0, self.seen_tokens, BLOCK_TOKENS):
            span = slice(start, min(start + BLOCK_TOKENS, self.seen_tokens))
            yield self.keys[:, :, span], self.values[:, :, span]

    def near(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Keys and values outside the pages: of the first tokens, then of the last ones."""
        tail = slice(SINK_TOKENS + num_pages(self.seen_tokens) * PAGE_TOKENS, self.seen_tokens)
        for span in (slice(0, min(self.seen_tokens, SINK_TOKENS)), tail):
            yield self.keys[:, :, span], self.values[:, :, span]

    @property
    def num_pages(self) -> int:
        """Full pages."""
        return num_pages(self.seen_tokens)

    def stored(self) -> tuple[Pages, Pages]:
        """The full pages of keys and of values, as views."""
        span = slice(SINK_TOKENS, SINK_TOKENS + self.num_pages * PAGE_TOKENS)
        return (
            Pages.plain(self.keys[:, :, span], PAGE_TOKENS),
            Pages.plain(self.values[:, :, span], PAGE_TOKENS),
        )

    def page_keys(self, first_page: int, stop_page: int) -> torch.Tensor:
        """[1, kv_heads, tokens, head_dim]."""
        return self.keys[:, :, SINK_TOKENS + first_page * PAGE_TOKENS : SINK_TOKENS + stop_page * PAGE_TOKENS]

    def take(self, pages: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Copies each head's own pages, [kv_heads, pages], into keys and values."""
        stop = SINK_TOKENS + num_pages(self.seen_tokens) * PAGE_TOKENS
        for mine, theirs in ((self.keys, keys), (self.values, values)):
            for head, own in enumerate(pages):
                held, wanted = (
                    tensor.unflatten(0, (-1, PAGE_TOKENS))  # [pages, PAGE_TOKENS, head_dim]
                    for tensor in (mine[0, head, SINK_TOKENS:stop], theirs[0, head])
                )
                torch.index_select(held, 0, own, out=wanted)

    def gained(self, start: int) -> dict[str, torch.Tensor]:
        """What the tokens from `start` on have left."""
        span = slice(start, self.seen_tokens)
        return {"keys": self.keys[:, :, span], "values": self.values[:, :, span]}

    def put(self, num_tokens: int, gained: Mapping[str, torch.Tensor]) -> None:
        """Takes what num_tokens, which come next, have left elsewhere."""
        self.append(gained["keys"], gained["values"])

    def mark(self) -> object:
        return self.seen_tokens

    def rewind(self, mark: object) -> None:
        assert isinstance(mark, int) and mark <= self.seen_tokens
        self.seen_tokens = mark
        if self.selected is not None:
            self.selected.rewind(mark)

    @property
    def mark_bytes(self) -> int:
        return 0

    def kept_tokens(self, start: int, stop: int) -> int:
        return max(0, min(stop, self.seen_tokens) - start)

    @property
    def nbytes(self) -> int:
        keys, values = self.held()
        return keys.nbytes + values.nbytes + (self.selected.nbytes if self.selected is not None else 0)

    @property
    def capacity_bytes(self) -> int:
        chosen = self.selected.capacity_bytes if self.selected is not None else 0
        return chosen + self.keys.nbytes + self.values.nbytes


class SinkWindowBuffer:
    """Keeps the first sink_size tokens and a ring of the last recent_size.

    Slots fill in order, sinks first. While decoding, the order inside the ring does not matter, since
    attention without a mask does not depend on the order of its keys.
    """

    def __init__(
        self,
        keys: torch.Tensor,
        values: torch.Tensor,
        sink_size: int,
        recent_size: int,
        reach: tuple[int, Rotation | None] | None = None,
    ) -> None:
        """keys, values: examples that give heads, head_dim, dtype and device. reach: given, so many tokens are the
        farthest that a query stands from the first one, whatever its position, and the model's rotation, which moves
        it there; without that the buffer can only be sized."""
        slots = sink_size + recent_size
        self._reach = reach
        self.sink_size, self.recent_size = sink_size, recent_size
        self.keys = keys.new_empty(*keys.shape[:2], slots, keys.shape[-1])
        self.values = values.new_empty(*values.shape[:2], slots, values.shape[-1])
        self.seen_tokens = 0

    def append(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        num_new = keys.shape[2]
        num_sinks = min(max(self.sink_size - self.seen_tokens, 0), num_new)
        if num_sinks:
            self._write(keys, values, 0, num_sinks, self.seen_tokens)
        # Of the rest only the last recent_size can stay; they land in at most two runs of slots.
        first = max(num_sinks, num_new - self.recent_size)
        while first < num_new:
            offset = (self.seen_tokens + first - self.sink_size) % self.recent_size
            run = min(num_new - first, self.recent_size - offset)
            self._write(keys, values, first, run, self.sink_size + offset)
            first += run
        self.seen_tokens += num_new

    def advance(self) -> None:
        """Counts a token that was written to its place from outside."""
        self.seen_tokens += 1

    @property
    def turns_queries(self) -> bool:
        """Whether queries far from the sinks see them from nearer."""
        return self._reach is not None

    def _write(self, keys: torch.Tensor, values: torch.Tensor, first: int, count: int, slot: int) -> None:
        self.keys[:, :, slot : slot + count] = keys[:, :, first : first + count]
        self.values[:, :, slot : slot + count] = values[:, :, first : first + count]

    def gained(self, start: int) -> dict[str, torch.Tensor]:
        """What the tokens from `start` on have left."""
        slots = self._slots(start, self.seen_tokens)
        return {"keys": self.keys[:, :, slots], "values": self.values[:, :, slots]}

    def put(self, num_tokens: int, gained: Mapping[str, torch.Tensor]) -> None:
        """Takes what num_tokens, which come next, have left elsewhere in a ring of the same size."""
        slots = self._slots(self.seen_tokens, self.seen_tokens + num_tokens)
        self.keys[:, :, slots] = gained["keys"].to(self.keys.device)
        self.values[:, :, slots] = gained["values"].to(self.values.device)
        self.seen_tokens += num_tokens

    def _slots(self, start: int, stop: int) -> torch.Tensor:
        """Where those of the tokens start..stop-1 lie that stay once `stop` are seen."""
        sinks = torch.arange(start, max(start, min(stop, self.sink_size)))
        first = min(stop, max(start, self.sink_size, stop - self.recent_size))
        ring = self.sink_size + (torch.arange(first, stop) - self.sink_size) % self.recent_size
        return torch.cat((sinks, ring)).to(self.keys.device)

    @property
    def num_held(self) -> int:
        return min(self.seen_tokens, self.sink_size + self.recent_size)

    def held(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of every token held: sinks in order, the ring in any order."""
        return self.keys[:, :, : self.num_held], self.values[:, :, : self.num_held]

    def sinks(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.keys[:, :, : self.sink_size], self.values[:, :, : self.sink_size]

    def near_sinks(self, queries: torch.Tensor, first: int) -> torch.Tensor:
        """queries: [1, heads, length, head_dim], the first at this position. Returns them as they see the sinks: where
        they are, or no farther away than they may be."""
        if self._reach is None or first + queries.shape[2] <= self._reach[0]:
            return queries
        farthest, rotation = self._reach[0] - 1, self._reach[1]
        assert rotation is not None
        positions = torch.arange(first, first + queries.shape[2], device=queries.device)
        return rotation.turn(queries, positions.clamp(max=farthest) - positions)

    def ordered(self) -> tuple[int, torch.Tensor, torch.Tensor]:
        """First position, keys and values of the longest ordered run that ends with the last token seen:
        everything while nothing was dropped, else the ring."""
        if self.seen_tokens == self.num_held:
            keys, values = self.held()
            return 0, keys, values
        split = self.sink_size + (self.seen_tokens - self.sink_size) % self.recent_size
        keys, values = (
            torch.cat((tensor[:, :, split:], tensor[:, :, self.sink_size : split]), dim=2)
            for tensor in (self.keys, self.values)
        )
        return self.seen_tokens - self.recent_size, keys, values

    def narrow(self, recent_size: int) -> None:
        """Goes on with a ring of fewer tokens: drops those before, and gives back their memory."""
        first = max(self.sink_size, self.seen_tokens - recent_size)
        stays = torch.arange(first, max(first, self.seen_tokens), device=self.keys.device) - self.sink_size
        before, after = (self.sink_size + stays % size for size in (self.recent_size, recent_size))
        narrowed = []
        for wide in (self.keys, self.values):
            tensor = wide.new_empty(*wide.shape[:2], self.sink_size + recent_size, wide.shape[-1])
            tensor[:, :, : self.sink_size] = wide[:, :, : self.sink_size]
            tensor[:, :, after] = wide[:, :, before]
            narrowed.append(tensor)
        self.keys, self.values = narrowed
        self.recent_size = recent_size

    def mark(self) -> tuple[int, torch.Tensor, torch.Tensor]:
        return self.seen_tokens, self.keys.clone(), self.values.clone()

    def rewind(self, mark: object) -> None:
        assert isinstance(mark, tuple)
        self.seen_tokens, keys, values = mark
        if keys.shape == self.keys.shape:
            self.keys.copy_(keys)
            self.values.copy_(values)
        else:  # the ring was wider then
            self.keys, self.values = keys.clone(), values.clone()
            self.recent_size = keys.shape[2] - self.sink_size

    @property
    def mark_bytes(self) -> int:
        return self.capacity_bytes

    def kept_tokens(self, start: int, stop: int) -> int:
        stop = min(stop, self.seen_tokens)
        first_recent = max(self.seen_tokens - self.recent_size, self.sink_size)
        sinks = max(0, min(stop, self.sink_size) - start)
        recent = max(0, stop - max(start, first_recent))
        return sinks + recent

    @property
    def nbytes(self) -> int:
        keys, values = self.held()
        return keys.nbytes + values.nbytes

    @property
    def capacity_bytes(self) -> int:
        return self.keys.nbytes + self.values.nbytes
