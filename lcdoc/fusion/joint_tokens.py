"""Tokens that were read apart, put one after the other into one cache: fusion of keys and values."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from lcdoc.engine.buffers import FullBuffer
from lcdoc.engine.cache import DocumentCache
from lcdoc.engine.checkpoint import LOGITS, Checkpoint, LayerForm
from lcdoc.engine.memory import allocating
from lcdoc.engine.rope import Rotation

KEYS = ".keys"


@dataclass(frozen=True)
class ReadTokens:
    """What tokens have left in a cache that holds everything. position: where the first of them stood. tensors: by the
    cache's own names, [1, kv_heads, tokens, head_dim]."""

    position: int
    num_tokens: int
    layers: tuple[LayerForm | None, ...]
    tensors: Mapping[str, torch.Tensor]

    @classmethod
    def of(cls, cache: DocumentCache, start: int, stop: int) -> "ReadTokens":
        """Copies of what the tokens start..stop-1 have left. Raises AllocationFailed where memory is refused."""
        assert all(isinstance(buffer, FullBuffer) for _, buffer in cache.groups())
        gained = cache.gained(start)
        copies = allocating(
            lambda: {name: left[:, :, : stop - start].clone() for name, left in gained.items()}
        )
        return cls(start, stop - start, tuple(layer.form for layer in cache.layers), copies)

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors.values())


class JointTokens:
    """Pieces that a reader takes as what it would have read, one after the other at consecutive positions: keys are
    turned there from where they stood (arXiv 2502.05431 calls it parallel encoding, with its pieces read apart).

    For readings in which all heads hold everything. It never saves; once closed it loads nothing more either, and the
    rest is read.
    """

    def __init__(self, pieces: Sequence[ReadTokens], rotation: Rotation) -> None:
        """rotation: that of the model, by which all pieces were read."""
        self._pieces, self._rotation = pieces, rotation
        self._closed = False
        self._num_taken = 0

    @property
    def tokens_left(self) -> int:
        """Those that weren't taken, and have to be read."""
        return sum(piece.num_tokens for piece in self._pieces) - self._num_taken

    def load(self, token_ids: Sequence[int], take: Callable[[Checkpoint], None]) -> bool:
        if self._closed:
            return False
        start, stop = self._num_taken, self._num_taken + len(token_ids)
        take(Checkpoint(self._pieces[0].layers, _Stretch(self._pieces, self._rotation, start, stop)))
        self._num_taken = stop
        return True

    def save(self, token_ids: Sequence[int], checkpoint: Checkpoint) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """From now on nothing is loaded: the cache no longer holds everything as it was computed."""
        self._closed = True


class _Stretch(Mapping[str, torch.Tensor]):
    """The tokens start..stop-1 of all pieces together, each tensor made when it is asked for."""

    def __init__(self, pieces: Sequence[ReadTokens], rotation: Rotation, start: int, stop: int) -> None:
        self._pieces, self._rotation = pieces, rotation
        self._start, self._stop = start, stop

    def __getitem__(self, name: str) -> torch.Tensor:
        if name == LOGITS:
            return torch.zeros(1)  # a question always follows
        found, position = [], 0
        for piece in self._pieces:
            first, last = max(self._start - position, 0), min(self._stop - position, piece.num_tokens)
            if first < last:
                left = piece.tensors[name][:, :, first:last]
                found.append(self._turned(left, position - piece.position) if name.endswith(KEYS) else left)
            position += piece.num_tokens
        return torch.cat(found, dim=2)

    def _turned(self, keys: torch.Tensor, step: int) -> torch.Tensor:
        steps = torch.full((keys.shape[2],), step, device=keys.device)
        return self._rotation.turn(keys, steps) if step else keys

    def __iter__(self) -> Iterator[str]:
        yield from self._pieces[0].tensors
        yield LOGITS

    def __len__(self) -> int:
        return len(self._pieces[0].tensors) + 1
