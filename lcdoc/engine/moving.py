"""Moving what was read into a lesser cache, layer by layer: never are there two caches."""

from collections.abc import Iterator
from dataclasses import replace

import torch

from lcdoc.engine.buffers import FullBuffer, SinkWindowBuffer
from lcdoc.engine.cache import Buffer, DocumentCache, LayerCache
from lcdoc.engine.evicting_buffer import EvictingBuffer
from lcdoc.engine.eviction import Eviction
from lcdoc.engine.heads import HeadGroup, HeadSplit
from lcdoc.engine.paged_buffer import PagedBuffer

Pair = tuple[torch.Tensor, torch.Tensor]


def move(cache: DocumentCache, split: HeadSplit, kv_dtype: str, eviction: Eviction | None) -> None:
    """Makes the cache one of this split, kv_dtype and eviction, holding all that it held, rounded where the new one
    rounds; heads that stream from now on take over their first and last tokens alone.

    What eviction may drop is still there afterwards. Where memory is refused on the way the layers moved by then stay
    moved: the cache can be read on with, or moved again.
    """
    cache.kv_dtype, cache.eviction = kv_dtype, eviction
    for index, layer in enumerate(cache.layers):
        cache.layers[index] = _moved(layer, split, kv_dtype, eviction, cache.narrowed)


def is_moved(cache: DocumentCache, split: HeadSplit, kv_dtype: str, eviction: Eviction | None) -> bool:
    """Whether the cache is such a one already, in all its layers."""
    form = split, kv_dtype, eviction
    return all((layer.split, layer.kv_dtype, layer.eviction) == form for layer in cache.layers)


def _moved(
    old: LayerCache, split: HeadSplit, kv_dtype: str, eviction: Eviction | None, narrowed: bool
) -> LayerCache:
    """The layer that takes the old one's place. narrowed: whether the reading is over, and wider windows with it."""
    assert old.split.is_within(split), "a streaming head can't see again what it dropped"
    assert old.extension is None or not old.extension.turns, "turned keys stay where they are"
    new = LayerCache(old.layer_idx, split, old.capacity_tokens, kv_dtype, eviction, old.rotation)
    new.sparse, new.selection = old.sparse, old.selection
    stored_alike = (kv_dtype, eviction) == (old.kv_dtype, old.eviction)
    for group, buffer in old.buffers:
        stays = group.recent_size is not None
        parts = (group,) if stays else split.divided(old.layer_idx, group.kv_heads)
        if stays or (stored_alike and parts == (group,)):
            new.buffers.append((group, buffer))
        elif isinstance(buffer, EvictingBuffer):
            assert eviction is not None and parts == (group,), "what was dropped does not come back"
            buffer.change(eviction, torch.bfloat16 if kv_dtype == "bfloat16" else None)
            new.buffers.append((group, buffer))
        else:
            assert isinstance(buffer, FullBuffer | PagedBuffer)
            for part in parts:
                rows = [group.kv_heads.index(head) for head in part.kv_heads]
                part = replace(part, prefill_recent_size=None) if narrowed else part
                new.buffers.append((part, _filled(new, part, buffer, rows)))
    return new


def _filled(layer: LayerCache, group: HeadGroup, old: FullBuffer | PagedBuffer, rows: list[int]) -> Buffer:
    """The layer's buffer for the group, with what it holds of the old one. rows: the group's heads in the old one."""
    # Copies, which indexing with a list makes: a buffer that keeps a view would keep the old one's memory with it.
    keys, values = (tensor[:, rows, :1] for tensor in next(old.blocks()))
    new = layer.new_buffer(group, keys, values)
    if isinstance(new, EvictingBuffer):
        new.fill(_blocks(old, rows), old.seen_tokens)
    elif isinstance(new, SinkWindowBuffer):
        _fill_window(new, old, rows)
    else:
        for block in _blocks(old, rows):
            new.append(*block)
    return new


def _blocks(old: FullBuffer | PagedBuffer, rows: list[int]) -> Iterator[Pair]:
    for keys, values in old.blocks():
        yield keys[:, rows], values[:, rows]


def _fill_window(new: SinkWindowBuffer, old: FullBuffer | PagedBuffer, rows: list[int]) -> None:
    for keys, values in old.blocks():
        stop = new.seen_tokens + keys.shape[2]
        if new.seen_tokens >= new.sink_size and stop <= old.seen_tokens - new.recent_size:
            new.seen_tokens = stop  # seen, but none of it would stay
        else:
            new.append(keys[:, rows], values[:, rows])
