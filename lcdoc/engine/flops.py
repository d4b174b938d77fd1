"""The arithmetic of reading: floating point operations of a prefill, by kind of work.

A multiplication and its addition are two. What grows with neither weights nor attended pairs is left out.
"""

from dataclasses import dataclass

from lcdoc.engine.heads import HeadGroup, HeadSplit
from lcdoc.engine.model_shape import ModelShape


@dataclass(frozen=True)
class PrefillFlops:
    """linear: in the layers' weights. causal: attention of a chunk within itself, and in windows. dense: attention of
    a chunk to all that was read before it."""

    linear: int
    causal: int
    dense: int


def prefill_flops(
    shape: ModelShape,
    split: HeadSplit,
    *,
    tokens: int,
    chunk_tokens: int,
    layer_weights: int,
    keep_tokens: int | None = None,
) -> PrefillFlops:
    """Operations to read `tokens` in chunks. layer_weights: those that one token is multiplied with. keep_tokens: what
    eviction leaves a retrieval head of the chunks before, on average; None leaves all."""
    causal = dense = 0
    for group in head_groups(shape, split):
        queries_per_pair = len(group.kv_heads) * shape.num_heads // shape.num_kv_heads
        per_pair = 4 * shape.head_dim * queries_per_pair  # a score and a weighted value, for each query head
        if group.recent_size is None:
            near = chunk_pairs(tokens, chunk_tokens)
            causal += per_pair * near
            dense += per_pair * past_pairs(
                tokens, chunk_tokens, tokens if keep_tokens is None else keep_tokens
            )
        else:
            recent_size = group.prefill_recent_size or group.recent_size
            causal += per_pair * window_pairs(tokens, group.sink_size + recent_size)
    return PrefillFlops(2 * layer_weights * tokens, causal, dense)


def unpacked_values(shape: ModelShape, split: HeadSplit, held_tokens: int) -> int:
    """Numbers that one pass over held_tokens takes out of pages of fewer bits: retrieval heads' keys and values."""
    heads = sum(len(group.kv_heads) for group in head_groups(shape, split) if group.recent_size is None)
    return 2 * heads * shape.head_dim * held_tokens


def head_groups(shape: ModelShape, split: HeadSplit) -> list[HeadGroup]:
    """The head groups of all layers."""
    return [
        group
        for layer_idx, window in enumerate(shape.windows)
        for group in split.groups(layer_idx, shape.num_kv_heads, window)
    ]


def triangle(tokens: int) -> int:
    """Pairs of a query and a key that is not after it."""
    return tokens * (tokens + 1) // 2


def chunk_pairs(tokens: int, chunk_tokens: int) -> int:
    """Of these pairs, those of one chunk."""
    chunks, rest = divmod(tokens, chunk_tokens)
    return chunks * triangle(chunk_tokens) + triangle(rest)


def past_pairs(tokens: int, chunk_tokens: int, keep_tokens: int) -> int:
    """Pairs of a query and a key of an earlier chunk, where keep_tokens of these are held at most."""
    whole = min(
        tokens, keep_tokens // chunk_tokens * chunk_tokens + chunk_tokens
    )  # read before the first eviction
    return triangle(whole) - chunk_pairs(whole, chunk_tokens) + (tokens - whole) * keep_tokens


def window_pairs(tokens: int, held_tokens: int) -> int:
    """Pairs where a query sees at most held_tokens keys."""
    if tokens <= held_tokens:
        return triangle(tokens)
    return triangle(held_tokens) + (tokens - held_tokens) * held_tokens


def past_tokens(tokens: int, chunk_tokens: int) -> int:
    """Tokens read before each chunk, summed over the chunks."""
    chunks, rest = divmod(tokens, chunk_tokens)
    return chunk_tokens * (chunks * (chunks - 1) // 2) + (chunks * chunk_tokens if rest else 0)
