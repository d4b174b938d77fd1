"""Storage of a retrieval group with grouped positions: old keys turned to their group's, the last ones as they came."""

from collections.abc import Mapping

import torch

from lcdoc.engine.buffers import FullBuffer
from lcdoc.engine.grouping import Grouping
from lcdoc.engine.rope import Rotation


class GroupedBuffer(FullBuffer):
    """Keeps every token, up to a fixed capacity. Keys of the first num_far tokens are turned to grouped positions, once
    each, where they lie; all are far but the last near_tokens, once their queries are attended.

    A mark keeps the near keys, which are turned after it: turning them back would round them once more.
    """

    def __init__(
        self,
        keys: torch.Tensor,
        values: torch.Tensor,
        capacity_tokens: int,
        grouping: Grouping,
        rotation: Rotation | None,
    ) -> None:
        """keys, values: examples that give heads, head_dim, dtype and device. rotation: the model's; without it the
        buffer can only be sized."""
        super().__init__(keys, values, capacity_tokens)
        self.grouping, self._rotation = grouping, rotation
        self.num_far = 0

    def turned_queries(self, queries: torch.Tensor, first: int) -> torch.Tensor:
        """queries: [1, heads, length, head_dim], the first at this position. Returns them as they see what is far."""
        positions = torch.arange(first, first + queries.shape[2], device=queries.device)
        return self._turned(queries, self.grouping.query_steps(positions))

    def turned_keys(self, num_tokens: int) -> torch.Tensor:
        """Keys of the tokens that become far next, [1, kv_heads, num_tokens, head_dim], turned; they stay near."""
        stop = self.num_far + num_tokens
        positions = torch.arange(self.num_far, stop, device=self.keys.device)
        return self._turned(self.keys[:, :, self.num_far : stop], self.grouping.key_steps(positions))

    def settle(self, turned_keys: torch.Tensor) -> None:
        """Makes these tokens far."""
        stop = self.num_far + turned_keys.shape[2]
        self.keys[:, :, self.num_far : stop] = turned_keys
        self.num_far = stop

    def _turned(self, tensor: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        assert self._rotation is not None
        return self._rotation.turn(tensor, steps)

    def gained(self, start: int) -> dict[str, torch.Tensor]:
        """What the tokens from `start` on have left: keys of tokens before them became far."""
        first = max(0, start - self.grouping.near_tokens)
        keys, values = self.held()
        return {"keys": keys[:, :, first:], "values": values[:, :, start:]}

    def put(self, num_tokens: int, gained: Mapping[str, torch.Tensor]) -> None:
        stop = self.seen_tokens + num_tokens
        self.keys[:, :, self.num_far : stop] = gained["keys"]
        self.values[:, :, self.seen_tokens : stop] = gained["values"]
        self.seen_tokens, self.num_far = stop, max(0, stop - self.grouping.near_tokens)

    def mark(self) -> tuple[int, int, torch.Tensor]:
        near = self.keys[:, :, self.num_far : self.seen_tokens]
        return self.seen_tokens, self.num_far, near.clone()

    def rewind(self, mark: object) -> None:
        assert isinstance(mark, tuple) and mark[0] <= self.seen_tokens
        self.seen_tokens, self.num_far, near = mark
        self.keys[:, :, self.num_far : self.seen_tokens] = near

    @property
    def mark_bytes(self) -> int:
        """Of a mark at the end of what it was made for."""
        return self.keys[:, :, : self.grouping.near_tokens].nbytes
