"""Which KV heads keep the whole document and which stream over it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from lcdoc.errors import UsageError


@dataclass(frozen=True)
class HeadGroup:
    """KV heads of one layer that keep the same tokens.

    kind: "retrieval" keeps every token; "streaming" keeps the first sink_size and the last recent_size, and a
    query sees no others; "window" is a streaming group that the model was trained with. prefill_recent_size: the wider
    window that it has while the document is read; None where it is recent_size.
    """

    kind: str
    kv_heads: tuple[int, ...]
    sink_size: int = 0
    recent_size: int | None = None
    prefill_recent_size: int | None = None


@dataclass(frozen=True)
class HeadSplit:
    """The division of a model's KV heads into retrieval and streaming heads (DuoAttention, arXiv 2410.10819).

    streaming: for each layer, the KV heads that stream; an empty tuple means that none does anywhere.
    Streaming heads keep sink_size first and recent_size last tokens (StreamingLLM, arXiv 2309.17453), and
    prefill_recent_size last ones while the document is read; None where these are no more.
    """

    streaming: tuple[frozenset[int], ...] = ()
    sink_size: int = 64
    recent_size: int = 256
    prefill_recent_size: int | None = None

    def __post_init__(self) -> None:
        if self.sink_size < 0:
            raise UsageError(f"sink size {self.sink_size} is below 0; give 0 or more tokens")
        if self.recent_size < 1:
            raise UsageError(f"recent size {self.recent_size} is below 1; give 1 token or more")
        assert self.prefill_recent_size is None or self.prefill_recent_size > self.recent_size

    @classmethod
    def exact(cls) -> "HeadSplit":
        """Every head keeps everything."""
        return cls()

    @classmethod
    def stream(cls, num_layers: int, num_kv_heads: int, sink_size: int, recent_size: int) -> "HeadSplit":
        """Every head streams."""
        return cls((frozenset(range(num_kv_heads)),) * num_layers, sink_size, recent_size)

    def outside(self, windows: Sequence[int | None]) -> "HeadSplit":
        """The split for a model whose layers have these windows, or None, of their own: heads of a layer with one keep
        to it, and don't count as streaming."""
        if not self.streaming:
            return self
        kept = zip(self.streaming, windows, strict=True)
        return replace(
            self, streaming=tuple(heads if window is None else frozenset() for heads, window in kept)
        )

    def redrawn(self, windows: Sequence[int | None], num_kv_heads: int, seed: int) -> "HeadSplit":
        """The same number of streaming heads, of the same sizes, drawn at random outside windows. With the same seed
        more heads are those of fewer, and others."""
        pairs = [
            (layer, head)
            for layer, window in enumerate(windows)
            for head in range(num_kv_heads)
            if window is None
        ]
        Random(seed).shuffle(pairs)
        drawn = pairs[: self.num_streaming_heads]
        layers = (frozenset(h for at, h in drawn if at == layer) for layer in range(len(windows)))
        return replace(self, streaming=tuple(layers))

    def groups(self, layer_idx: int, num_kv_heads: int, sliding_window: int | None) -> tuple[HeadGroup, ...]:
        """The groups of one layer, retrieval first. A layer with a window of its own streams already, exactly
        as it was trained, so gates do not touch it."""
        everyone = tuple(range(num_kv_heads))
        if sliding_window is not None:
            return (HeadGroup("window", everyone, 0, sliding_window),)
        return self.divided(layer_idx, everyone)

    def divided(self, layer_idx: int, kv_heads: Sequence[int]) -> tuple[HeadGroup, ...]:
        """The groups that these heads of one layer, which has no window of its own, fall into, retrieval first."""
        streaming = self.streaming[layer_idx] if self.streaming else frozenset()
        keep = tuple(head for head in kv_heads if head not in streaming)
        drop = tuple(head for head in kv_heads if head in streaming)
        groups = []
        if keep:
            groups.append(HeadGroup("retrieval", keep))
        if drop:
            groups.append(
                HeadGroup("streaming", drop, self.sink_size, self.recent_size, self.prefill_recent_size)
            )
        return tuple(groups)

    def is_within(self, other: "HeadSplit") -> bool:
        """Whether every head that streams here streams in the other split as well, over windows of the same sizes once
        the document is read: then what is held here is all that the other needs."""
        if not self.num_streaming_heads:
            return True
        if (self.sink_size, self.recent_size) != (other.sink_size, other.recent_size) or not other.streaming:
            return False
        return all(mine <= theirs for mine, theirs in zip(self.streaming, other.streaming, strict=True))

    @property
    def num_streaming_heads(self) -> int:
        return sum(len(layer) for layer in self.streaming)
