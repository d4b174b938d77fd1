"""lcdoc's attention, as one function registered with transformers' AttentionInterface.

No mask is ever built: each head group's attention is put together from parts that need none or are plainly
causal, joined by their log-sum-exp. Queries and keys are [1, heads, length, head_dim]; a batch of several sequences is
attended row by row, each over its own cache.
"""

from typing import Any

import torch
from transformers import AttentionInterface

from lcdoc.engine.buffers import FullBuffer, SinkWindowBuffer
from lcdoc.engine.cache import Buffer, LayerCache, layers_of
from lcdoc.engine.evicting_buffer import EvictingBuffer
from lcdoc.engine.grouped_attention import attend_grouped
from lcdoc.engine.grouped_buffer import GroupedBuffer
from lcdoc.engine.head_slices import pick_heads, put_heads
from lcdoc.engine.heads import HeadGroup
from lcdoc.engine.paged_buffer import PagedBuffer
from lcdoc.engine.parts import Part, attend_causal
from lcdoc.engine.sparse_prefill import SparsePrefill
from lcdoc.engine.window_attention import attend_window
from lcdoc.kernels.attend import attend, merge
from lcdoc.kernels.paged_decode import paged_decode, supports
from lcdoc.kernels.pages import Pages

IMPLEMENTATION = "lcdoc"


def register() -> str:
    """Makes the attention known to transformers and returns the name to load a model with."""
    AttentionInterface.register(IMPLEMENTATION, attention_forward)
    return IMPLEMENTATION


def attention_forward(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Appends the new keys to the layer's cache and attends, one head group at a time.

    key, value: the new tokens' only, as LayerCache.update passed them through. attention_mask is None because
    no mask function is registered under this name: a row of the batch is a sequence of its own, with a cache of its
    own, and none is padded.
    s_aux: [heads], a learned logit per head that takes part in the softmax and has no value (gpt-oss).
    Returns output [rows, length, heads, head_dim].
    """
    layers = layers_of(key)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    how = scale, sliding_window, softcap, s_aux
    if len(layers) == 1:
        output = _attend_row(query, key, value, layers[0], *how)
    else:
        rows = zip(query.split(1), key.split(1), value.split(1), layers, strict=True)
        output = torch.cat([_attend_row(*row, *how) for row in rows])
    return output.transpose(1, 2), None


def _attend_row(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    layer: LayerCache,
    scale: float,
    sliding_window: int | None,
    softcap: float | None,
    s_aux: torch.Tensor | None,
) -> torch.Tensor:
    """One sequence's output [1, heads, length, head_dim]."""
    group_size = query.shape[1] // key.shape[1]
    groups = layer.groups(key, value, sliding_window)
    if len(groups) == 1:
        return _attend_group(query, key, value, layer, *groups[0], scale, softcap, s_aux)
    output = query.new_empty(1, query.shape[1], query.shape[2], value.shape[-1])
    for group, buffer in groups:
        kv_heads = group.kv_heads
        aux = None if s_aux is None else pick_heads(s_aux[None], kv_heads, group_size)[0]
        queries = pick_heads(query, kv_heads, group_size)
        part = queries, pick_heads(key, kv_heads), pick_heads(value, kv_heads)
        result = _attend_group(*part, layer, group, buffer, scale, softcap, aux)
        put_heads(output, result, kv_heads, group_size)
    return output


def _attend_group(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    layer: LayerCache,
    group: HeadGroup,
    buffer: Buffer,
    scale: float,
    softcap: float | None,
    s_aux: torch.Tensor | None,
) -> torch.Tensor:
    """One head group's output [1, heads, length, head_dim]."""
    if layer.step is not None:
        output, lse = layer.step.attend(query, keys, values, buffer, scale)
    else:
        output, lse = attend_buffer(query, keys, values, buffer, scale, softcap, layer.sparse)
    if s_aux is not None:
        aux = s_aux.float()[:, None]
        output = output * torch.sigmoid(lse - aux).unsqueeze(-1).to(output.dtype)
        lse = torch.logaddexp(lse, aux)
    if layer.step is not None:
        layer.step.note(layer.layer_idx, group, buffer, query, lse, scale)
    if layer.observing and isinstance(buffer, EvictingBuffer):
        buffer.observe(query, lse, scale, softcap)
    if layer.mass is not None and isinstance(buffer, FullBuffer):
        layer.mass.observe(layer.layer_idx, group.kv_heads, query, buffer.held()[0], lse, scale, softcap)
    if layer.trace is not None and isinstance(buffer, FullBuffer | PagedBuffer):
        watch = layer.layer_idx, group.kv_heads, query
        if buffer.selected is not None and buffer.selected.stands(buffer.seen_tokens):
            layer.trace.observe_some(*watch, *buffer.selected.keys(), lse, scale, softcap)
            return output
        key_blocks = (block for block, _ in buffer.blocks())
        layer.trace.observe(*watch, key_blocks, lse, scale, softcap)
    return output


def attend_buffer(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    buffer: Buffer,
    scale: float,
    softcap: float | None = None,
    sparse: SparsePrefill | None = None,
) -> Part:
    """Attends over what the buffer holds and the new tokens themselves, and appends these to it.

    query: [1, heads, length, head_dim]; keys, values: [1, kv_heads, length, head_dim], of the same tokens. sparse: how
    a buffer that holds everything where it is may be read by blocks.
    Returns output [1, heads, length, head_dim] and log-sum-exp [1, heads, length].
    """
    if isinstance(buffer, SinkWindowBuffer):
        return attend_window(query, keys, values, buffer, scale, softcap)
    if (
        isinstance(buffer, FullBuffer | PagedBuffer)
        and buffer.selected is not None
        and buffer.selected.serves(keys.shape[2], buffer.seen_tokens)
    ):
        buffer.append(keys, values)
        attended = buffer.selected.attended(query, keys, values, buffer)
        return attend(query, *attended, scale=scale, softcap=softcap)
    if isinstance(buffer, EvictingBuffer):
        return _attend_kept(query, keys, values, buffer, scale, softcap)
    if isinstance(buffer, GroupedBuffer):
        return attend_grouped(query, keys, values, buffer, scale, softcap)
    if sparse is not None and sparse.active and buffer.seen_tokens and keys.shape[2] > 1:
        past = sparse.attend(query, buffer, scale, softcap)
        if past is not None:
            own = attend(query, keys, values, scale=scale, causal=True, softcap=softcap)
            buffer.append(keys, values)
            return merge([own, past])
    if isinstance(buffer, PagedBuffer):
        return _attend_pages(query, keys, values, buffer, scale, softcap)
    return _attend_full(query, keys, values, buffer, scale, softcap)


def _attend_full(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    buffer: FullBuffer,
    scale: float,
    softcap: float | None,
) -> Part:
    """Every query sees every token before it."""
    num_new, num_past = keys.shape[2], buffer.seen_tokens
    buffer.append(keys, values)
    held_keys, held_values = buffer.held()
    if num_new == 1:
        return attend(query, held_keys, held_values, scale=scale, softcap=softcap)
    return attend_causal(query, held_keys, held_values, num_past, scale, softcap)


def _attend_pages(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    buffer: PagedBuffer,
    scale: float,
    softcap: float | None,
) -> Part:
    """As _attend_full, over a past that is dequantised block by block, or as it is read where a kernel decodes so. A
    chunk sees itself unquantised."""
    result = attend(query, keys, values, scale=scale, causal=keys.shape[2] > 1, softcap=softcap)
    total = result[0].float(), result[1]
    stored = buffer.stored()
    if supports(query, *stored, softcap):
        near = (pair for pair in buffer.near() if pair[0].shape[2])
        parts = [total, *(attend(query, *pair, scale=scale) for pair in near)]
        parts.append(_decode_pages(query, stored, scale))
        buffer.append(keys, values)
        output, lse = merge(parts)
        return output.to(query.dtype), lse
    if buffer.seen_tokens:
        total = merge([total, attend_past(query, buffer, scale, softcap)])
    buffer.append(keys, values)
    return total[0].to(query.dtype), total[1]


def attend_past(
    query: torch.Tensor, buffer: FullBuffer | PagedBuffer, scale: float, softcap: float | None
) -> Part:
    """Attention to all that the buffer holds, all of which the queries see; the output in float32 where it is
    dequantised block by block."""
    if isinstance(buffer, FullBuffer):
        return attend(query, *buffer.held(), scale=scale, softcap=softcap)
    total: Part | None = None
    for keys, values in buffer.parts():
        output, lse = attend(query, keys, values, scale=scale, softcap=softcap)
        total = (output.float(), lse) if total is None else merge([total, (output, lse)])
    assert total is not None
    return total


def _decode_pages(query: torch.Tensor, stored: tuple[Pages, Pages], scale: float) -> Part:
    kv_heads, num_pages, page_size = stored[0].codes.shape[1:4]
    num_tokens = torch.full((kv_heads,), num_pages * page_size, dtype=torch.int32, device=query.device)
    return paged_decode(query, *stored, num_tokens, scale=scale)


def _attend_kept(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    buffer: EvictingBuffer,
    scale: float,
    softcap: float | None,
) -> Part:
    """Every query sees what each of its heads kept, the means of what it dropped, and all that came since the last
    eviction."""
    num_tail = buffer.num_tail
    buffer.append(keys, values)
    if keys.shape[2] == 1:
        recent = attend(query, *buffer.tail(), scale=scale, softcap=softcap)
    else:
        recent = attend_causal(query, *buffer.tail(), num_tail, scale, softcap)
    whole = [recent]
    dropped = buffer.attend_dropped(query, scale, softcap)
    whole += [dropped] if dropped else []
    group_size = query.shape[1] // keys.shape[1]
    outputs, lses = [], []
    for head in range(keys.shape[1]):
        span = slice(head * group_size, (head + 1) * group_size)
        parts = [(output[:, span], lse[:, span]) for output, lse in whole]
        parts += [attend(query[:, span], *pair, scale=scale, softcap=softcap) for pair in buffer.kept(head)]
        output, lse = merge(parts)
        outputs.append(output)
        lses.append(lse)
    return torch.cat(outputs, dim=1), torch.cat(lses, dim=1)
