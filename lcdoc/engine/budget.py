"""What a reading will take of the device's memory, and the least lossy way to stay within a budget.

Arithmetic over a model's shape: no weights are loaded, and the cache is sized by the buffers' own code on the meta
device, so that plan and cache cannot disagree.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from lcdoc.engine.cache import LayerCache
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.profiles import HeadProfile

# Chunks are halved down to this before anything is given up.
MIN_CHUNK_TOKENS = 128

# Peak over plain sum of activations, measured on a CPU with glibc's allocator at chunks of 128 and 1024 tokens.
ALLOCATOR_FACTOR = 3.5


@dataclass(frozen=True)
class ModelShape:
    """What decides a model's memory. windows: each layer's own sliding window in tokens, or None. layer_bytes: of one
    layer's weights where layers can be kept off the device, else 0."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    hidden_size: int
    intermediate_size: int
    vocab_size: int
    windows: tuple[int | None, ...]
    weights_bytes: int
    dtype: torch.dtype
    layer_bytes: int = 0

    @classmethod
    def from_config(
        cls, config: Any, weights_bytes: int, dtype: torch.dtype, layer_bytes: int = 0
    ) -> "ModelShape":
        """config: of a transformers decoder. weights_bytes: in the dtype that they are loaded in."""
        text = config.get_text_config()
        return cls(
            num_heads=text.num_attention_heads,
            num_kv_heads=getattr(text, "num_key_value_heads", None) or text.num_attention_heads,
            head_dim=getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads,
            hidden_size=text.hidden_size,
            intermediate_size=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
            vocab_size=text.vocab_size,
            windows=_layer_windows(text),
            weights_bytes=weights_bytes,
            dtype=dtype,
            layer_bytes=layer_bytes,
        )

    @property
    def num_layers(self) -> int:
        return len(self.windows)


def _layer_windows(text: Any) -> tuple[int | None, ...]:
    window = getattr(text, "sliding_window", None)
    if getattr(text, "use_sliding_window", None) is False:
        window = None
    kinds = getattr(text, "layer_types", None) or ["sliding_attention"] * text.num_hidden_layers
    return tuple(window if kind == "sliding_attention" else None for kind in kinds)


def kv_bytes(shape: ModelShape, split: HeadSplit, capacity_tokens: int, kv_dtype: str) -> int:
    """Bytes of the cache's buffers for capacity_tokens, exactly as DocumentCache allocates them."""
    example = torch.empty(1, shape.num_kv_heads, 1, shape.head_dim, dtype=shape.dtype, device="meta")
    total = 0
    for layer_idx, window in enumerate(shape.windows):
        layer = LayerCache(layer_idx, split, capacity_tokens, kv_dtype)
        layer.groups(example, example, window)
        total += layer.capacity_bytes
    return total


def workspace_bytes(shape: ModelShape, chunk_tokens: int) -> int:
    """Most bytes that a chunk's activations take: the feed-forward layer's three products or attention's parts with
    their float32 sums, on top of the hidden states; and one row of logits.

    Several layers' worth stay with the allocator, which gives freed blocks back late: ALLOCATOR_FACTOR of them.
    """
    itemsize = shape.dtype.itemsize
    attention_width = shape.num_heads * shape.head_dim
    hidden = 4 * shape.hidden_size * itemsize
    feed_forward = 3 * shape.intermediate_size * itemsize
    attention = attention_width * (6 * itemsize + 3 * 4)
    activations = chunk_tokens * (hidden + max(feed_forward, attention))
    return int(ALLOCATOR_FACTOR * activations) + 2 * 4 * shape.vocab_size


@dataclass(frozen=True)
class Rung:
    """One way to read. loss: what it gives up, in words; empty for an exact reading. offloaded_layers: of the last
    decoder layers, those whose weights (offloaded_bytes) are streamed through the device for every chunk."""

    name: str
    split: HeadSplit
    kv_dtype: str
    chunk_tokens: int
    kv_bytes: int
    workspace_bytes: int
    peak_bytes: int
    loss: str
    offloaded_layers: int = 0
    offloaded_bytes: int = 0


@dataclass(frozen=True)
class Limits:
    """What the user fixed: choices that the ladder may not change. None leaves a choice to it. weights: how they are
    stored, as the shape's weights_bytes has it."""

    split: HeadSplit | None = None
    kv_dtype: str | None = None
    exact: bool = False
    weights: str = "model"


def ladder(
    shape: ModelShape,
    *,
    capacity_tokens: int,
    chunk_tokens: int,
    base_bytes: int,
    limits: Limits,
    profile: HeadProfile | None = None,
) -> Iterator[Rung]:
    """The ways to read, the least lossy first: exact, smaller chunks, bfloat16 keys and values where the model
    computes in float32, streaming heads by lowest gate (only with a profile), 8 bits, 4 bits.

    base_bytes: what the process takes before the weights are loaded.
    """
    split = limits.split or HeadSplit.exact()
    stored = limits.kv_dtype or "model"
    weights_loss = _weights_loss(limits.weights)

    def rung(name: str, loss: str, split: HeadSplit, kv_dtype: str, chunk: int) -> Rung:
        kv, work = kv_bytes(shape, split, capacity_tokens, kv_dtype), workspace_bytes(shape, chunk)
        peak = base_bytes + shape.weights_bytes + kv + work
        return Rung(name, split, kv_dtype, chunk, kv, work, peak, _join(weights_loss, loss))

    fixed_loss = _fixed_loss(split, stored)
    yield rung("as asked" if fixed_loss or weights_loss else "exact", fixed_loss, split, stored, chunk_tokens)
    chunk = chunk_tokens
    while chunk // 2 >= MIN_CHUNK_TOKENS:
        chunk //= 2
        yield rung(f"chunks of {chunk}", fixed_loss, split, stored, chunk)
    if limits.exact:
        return
    if limits.kv_dtype is None and shape.dtype == torch.float32:
        stored = "bfloat16"
        yield rung(
            "bfloat16 KV", _join(fixed_loss, "keys and values rounded to 16 bits"), split, stored, chunk
        )
    if limits.split is None and profile is not None:
        for count in range(1, len(profile.order) + 1):
            split = profile.streaming(count)
            loss = f"{count} of {len(profile.order)} heads see only the first and last tokens"
            yield rung(f"{count} streaming heads", _join(loss, _stored_loss(stored)), split, stored, chunk)
    if limits.kv_dtype is None:
        heads = _fixed_loss(split, "model")
        for bits, name in ((8, "int8"), (4, "int4")):
            loss = _join(heads, f"keys and values rounded to {bits} bits")
            yield rung(f"{name} KV", loss, split, name, chunk)


def offloaded(
    shape: ModelShape,
    *,
    capacity_tokens: int,
    chunk_tokens: int,
    base_bytes: int,
    budget_bytes: int,
    limits: Limits,
) -> Iterator[Rung]:
    """The same reading with as few of the last decoder layers off the device as the budget asks, in small chunks; room
    for one layer stays, to stream the others through. None where that is not enough, or nothing is too much."""
    split, stored = limits.split or HeadSplit.exact(), limits.kv_dtype or "model"
    chunk = min(chunk_tokens, MIN_CHUNK_TOKENS)
    kv, work = kv_bytes(shape, split, capacity_tokens, stored), workspace_bytes(shape, chunk)
    over = base_bytes + shape.weights_bytes + kv + work - budget_bytes
    if over <= 0 or not shape.layer_bytes:
        return
    layers = -(-(over + shape.layer_bytes) // shape.layer_bytes)
    if layers >= shape.num_layers:
        return
    off_bytes = layers * shape.layer_bytes
    peak = budget_bytes + over - off_bytes + shape.layer_bytes
    loss = _fixed_loss(split, stored)
    yield Rung("weights offloaded", split, stored, chunk, kv, work, peak, loss, layers, off_bytes)


def _fixed_loss(split: HeadSplit, kv_dtype: str) -> str:
    heads = split.num_streaming_heads
    words = f"{heads} heads see only the first and last tokens" if heads else ""
    return _join(words, _stored_loss(kv_dtype))


def _weights_loss(weights: str) -> str:
    bits = {"bf16": 16, "int8": 8, "int4": 4}.get(weights)
    return f"weights rounded to {bits} bits" if bits else ""


def _stored_loss(kv_dtype: str) -> str:
    bits = {"bfloat16": 16, "int8": 8, "int4": 4}.get(kv_dtype)
    return f"keys and values rounded to {bits} bits" if bits else ""


def _join(*losses: str) -> str:
    return "; ".join(loss for loss in losses if loss)
