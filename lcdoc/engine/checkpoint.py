"""What a chunk of tokens has left in a cache, so that it can be kept elsewhere and put back without a reading."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch


@dataclass(frozen=True)
class LayerForm:
    """What a layer's buffers are made for. window: the layer's own, or None. dtype: of the keys, such as "float32"."""

    num_kv_heads: int
    key_dim: int
    value_dim: int
    window: int | None
    dtype: str

    @classmethod
    def of(cls, key: torch.Tensor, value: torch.Tensor, window: int | None) -> "LayerForm":
        """key, value: [1, num_kv_heads, length, head_dim] as the model made them."""
        dtype = str(key.dtype).removeprefix("torch.")
        return cls(key.shape[1], key.shape[-1], value.shape[-1], window, dtype)

    def examples(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of no tokens."""
        dtype = getattr(torch, self.dtype)
        key = torch.empty(1, self.num_kv_heads, 0, self.key_dim, dtype=dtype, device=device)
        return key, key.new_empty(1, self.num_kv_heads, 0, self.value_dim)


@dataclass(frozen=True)
class Checkpoint:
    """layers: the cache's, in order, None for one that holds nothing. tensors: what each buffer gained, by names of the
    cache's own, and the logits after the last token under LOGITS. They may be views into the cache, or read only when
    asked for."""

    layers: tuple[LayerForm | None, ...]
    tensors: Mapping[str, torch.Tensor]


LOGITS = "logits"


class Checkpoints(Protocol):
    """Keeps what chunks have left, in the order in which they are read."""

    def load(self, token_ids: Sequence[int], take: Callable[[Checkpoint], None]) -> bool:
        """Has `take` put back what these tokens have left, which come next; False where they have to be read."""

    def save(self, token_ids: Sequence[int], checkpoint: Checkpoint) -> None:
        """Keeps what these tokens have left, which were just read. Never raises for want of room or memory."""

    def close(self) -> None:
        """Ends it: from now on the cache holds other numbers than the tokens would have left before."""
