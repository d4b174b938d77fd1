"""Moving what was read into a lesser cache, buffer by buffer: never are there two caches."""

import torch

from lcdoc.engine.buffers import FullBuffer
from lcdoc.engine.cache import DocumentCache, LayerCache
from lcdoc.engine.evicting_buffer import EvictingBuffer
from lcdoc.engine.eviction import Eviction
from lcdoc.engine.paged_buffer import PagedBuffer


def move(cache: DocumentCache, kv_dtype: str, eviction: Eviction | None) -> None:
    """Makes the cache one of this kv_dtype and eviction, holding all that it held, rounded where the new one rounds.

    Retrieval heads alone change; what eviction may drop is still there afterwards. Where memory is refused on the way
    the buffers moved by then stay moved: the cache can be read on with, or moved again.
    """
    cache.kv_dtype, cache.eviction = kv_dtype, eviction
    for layer in cache.layers:
        layer.kv_dtype, layer.eviction = kv_dtype, eviction
        for index in range(len(layer.buffers)):
            _move_group(layer, index)


def _move_group(layer: LayerCache, index: int) -> None:
    group, old = layer.buffers[index]
    if group.recent_size is not None:
        return
    if isinstance(old, EvictingBuffer):
        assert layer.eviction is not None, "what was dropped does not come back"
        old.change(layer.eviction, torch.bfloat16 if layer.kv_dtype == "bfloat16" else None)
        return
    assert isinstance(old, FullBuffer | PagedBuffer)
    keys, values = next(old.blocks())
    new = layer.new_buffer(group, keys, values)
    if isinstance(new, EvictingBuffer):
        new.fill(old.blocks(), old.seen_tokens)
    else:
        for block in old.blocks():
            new.append(*block)
    layer.buffers[index] = group, new
