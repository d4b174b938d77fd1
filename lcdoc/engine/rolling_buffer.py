"""Storage of a text without end: what is held of it stands at positions 0, 1, 2, ... whatever was dropped between."""

from collections.abc import Mapping

import torch

from lcdoc.engine.buffers import FullBuffer
from lcdoc.engine.rope import Rotation
from lcdoc.kernels.compact import compact


class RollingBuffer(FullBuffer):
    """Keeps every token until `keep` drops some; those that stay then move up (StreamingLLM, arXiv 2309.17453).

    Keys of what stayed are also held unturned, as at position 0: however often they move, they are turned from there
    and rounded once. seen_tokens counts what is held. A mark is good until the next `keep`.
    """

    def __init__(
        self,
        keys: torch.Tensor,
        values: torch.Tensor,
        capacity_tokens: int,
        most_kept: int,
        rotation: Rotation | None,
    ) -> None:
        """keys, values: examples that give heads, head_dim, dtype and device. capacity_tokens: the most held at any
        time, most_kept: after `keep`. rotation: the model's; without it the buffer can only be sized."""
        super().__init__(keys, values, capacity_tokens)
        self._rotation = rotation
        self._unturned = self.keys.new_empty(*self.keys.shape[:2], most_kept, self.keys.shape[-1])
        self._num_unturned = 0

    def keep(self, indices: torch.Tensor) -> None:
        """Drops all tokens but these, [length] and rising, counted among those held."""
        num_kept = len(indices)
        assert num_kept <= self._unturned.shape[2]
        first = torch.arange(self._num_unturned, self.seen_tokens, device=self.keys.device)
        fresh = self._turned(self.keys[:, :, self._num_unturned : self.seen_tokens], -first)
        unturned = torch.cat((self._unturned[:, :, : self._num_unturned], fresh), dim=2)
        values = self.values[:, :, : self.seen_tokens]
        self._settle(unturned[:, :, indices])
        compact(values, indices.expand(values.shape[1], -1))

    def gained(self, start: int) -> dict[str, torch.Tensor]:
        """All that is held: what stayed at the last `keep`, unturned, and what came since."""
        assert start == 0
        keys, values = self.held()
        stayed = self._unturned[:, :, : self._num_unturned]
        return {"stayed": stayed, "keys": keys[:, :, self._num_unturned :], "values": values}

    def put(self, num_tokens: int, gained: Mapping[str, torch.Tensor]) -> None:
        """Takes all that another one held."""
        assert self.seen_tokens == 0
        stayed, keys, values = (gained[name].to(self.keys.device) for name in ("stayed", "keys", "values"))
        num_stayed = stayed.shape[2]
        self._settle(stayed)
        self.values[:, :, :num_stayed] = values[:, :, :num_stayed]
        self.append(keys, values[:, :, num_stayed:])

    def _settle(self, unturned: torch.Tensor) -> None:
        self.seen_tokens = self._num_unturned = unturned.shape[2]
        self._unturned[:, :, : self.seen_tokens] = unturned
        positions = torch.arange(self.seen_tokens, device=unturned.device)
        self.keys[:, :, : self.seen_tokens] = self._turned(unturned, positions)

    def _turned(self, keys: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        assert self._rotation is not None
        return self._rotation.turn(keys, steps)

    @property
    def nbytes(self) -> int:
        return super().nbytes + self._unturned[:, :, : self._num_unturned].nbytes

    @property
    def capacity_bytes(self) -> int:
        return super().capacity_bytes + self._unturned.nbytes
