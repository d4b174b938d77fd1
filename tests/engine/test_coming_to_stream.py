"""Heads that come to stream after a failed allocation: over what was read, they keep sinks and recent tokens alone."""

from dataclasses import replace

import pytest
import torch
from transformers import AttentionInterface

from lcdoc.engine.attention import register
from lcdoc.engine.budget import kv_bytes
from lcdoc.engine.buffers import FullBuffer, SinkWindowBuffer
from lcdoc.engine.evicting_buffer import EvictingBuffer
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.memory import AllocationFailed
from lcdoc.engine.model_shape import ModelShape
from lcdoc.engine.reader import Reader

LENGTH, CHUNK = 701, 200
QUESTION = [5, 6, 7, 8]


@pytest.fixture(scope="module")
def llama(model_of):
    return model_of("llama", initializer_range=0.2)


@pytest.fixture(scope="module", params=["llama", "gemma3_text"])
def model(request, llama, model_of):
    if request.param == "llama":
        return llama
    return model_of("gemma3_text", initializer_range=0.2, sliding_window=48)


# Heads stream in three steps: none, some, more, in layers of their own and together with others.
NONE, SOME, MORE = (
    HeadSplit(tuple(map(frozenset, layers)), sink_size=8, recent_size=20)
    for layers in ([()] * 6, [(1,), (), (0,), (), (), ()], [(1,), (0,), (0, 1), (), (), (1,)])
)


def masked(since, document, split):
    """Attention over all tokens at once: a KV head that streams does so from the token that since names for it, within
    the wider window before the document's end."""

    def forward(module, query, key, value, attention_mask, scaling, **kwargs):
        length = key.shape[2]
        row, column = torch.arange(length)[:, None], torch.arange(length)
        window = torch.where(
            row < document, split.prefill_recent_size or split.recent_size, split.recent_size
        )
        near = (column < split.sink_size) | (column > row - window)
        starts = [since.get((module.layer_idx, head // 2), length) for head in range(4)]
        masks = torch.stack([(column <= row) & (near | (row < start)) for start in starts])
        output = torch.nn.functional.scaled_dot_product_attention(
            query, key.repeat_interleave(2, 1), value.repeat_interleave(2, 1), attn_mask=masks, scale=scaling
        )
        return output.transpose(1, 2).contiguous(), None

    return forward


@pytest.fixture
def by_hand():
    """The logits of a model whose heads stream from given tokens on, without any cache."""
    attended = []

    def logits(model, ids, since, document, split):
        AttentionInterface.register("streaming_by_hand", masked(since, document, split))
        model.set_attn_implementation("streaming_by_hand")
        attended.append(model)
        with torch.inference_mode():
            return model(torch.tensor([ids]), use_cache=False).logits[0]

    yield logits
    for model in attended:
        model.set_attn_implementation(register())


def streams_from(steps):
    """(layer, head) -> the token from which on it streams, of steps as {token: split}."""
    since = {}
    for token, split in steps.items():
        for layer, heads in enumerate(split.streaming):
            for head in heads:
                since.setdefault((layer, head), token)
    return since


def answer(reader, count=30):
    """Token ids and the logits that each was picked from."""
    seen = []

    def pick(logits):
        seen.append(logits.clone())
        return int(logits.argmax())

    return list(reader.decode(pick, (), count)), torch.stack(seen)


@pytest.mark.parametrize("wide", [None, 70], ids=["narrow", "wide"])
@pytest.mark.parametrize("keep", [None, LENGTH], ids=["whole", "evicting"])
@pytest.mark.parametrize(
    "steps",
    [{1: "some"}, {9: "more"}, {57: "some", 131: "more"}, {203: "more"}, {301: "some", 305: "more"}],
    ids=str,
)
def test_heads_that_came_to_stream_see_what_their_window_has(
    llama, ids, by_hand, steps, keep, wide, reader_for, eviction
):
    steps = {
        at: replace({"some": SOME, "more": MORE}[name], prefill_recent_size=wide)
        for at, name in steps.items()
    }
    document, reader = 301, reader_for(llama, chunk_tokens=37)
    reader.prefill(ids[: min(steps)])
    for at, split in steps.items():
        if at < document:
            reader.prefill(ids[reader.seen_tokens : at])
        else:
            reader.read(ids[reader.seen_tokens : document])
            reader.prefill(ids[document:at])
        reader.step_down(split=split, chunk_tokens=41, kv_dtype="model", eviction=None)
    if keep:
        reader.step_down(split=split, chunk_tokens=41, kv_dtype="model", eviction=eviction("recent", keep))
    assert {buffer.seen_tokens for _, buffer in reader.cache.groups()} == {at}
    if at < document:
        reader.read(ids[at:document])
    reader.prefill(QUESTION)
    answered, logits = answer(reader)
    read = [*ids[: max(at, document)], *QUESTION]
    expected = by_hand(llama, read + answered, streams_from(steps), document, split)[len(read) - 1 : -1]
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    assert sum(len(g.kv_heads) for g, _ in reader.cache.groups() if g.kind == "streaming") == len(
        streams_from(steps)
    )


def test_streaming_makes_a_difference(llama, ids, reader_for):
    readers = [reader_for(llama) for _ in range(2)]
    for reader in readers:
        reader.read(ids)
    readers[1].step_down(split=MORE, chunk_tokens=CHUNK, kv_dtype="model", eviction=None)
    for reader in readers:
        reader.prefill(QUESTION)
    assert (readers[0].logits - readers[1].logits).abs().max() > 1e-3


@pytest.mark.parametrize("kv_dtype", ["bfloat16", "int8"])
@pytest.mark.parametrize("seen", [1, 27, 64, 300, LENGTH])
@pytest.mark.parametrize("lower", ["same", "int4", "evicting"])
def test_pages_are_split_by_head(model, ids, kv_dtype, seen, lower, reader_for, eviction):
    reader = reader_for(model, kv_dtype=kv_dtype)
    reader.read(ids[:seen])
    before = [list(layer.buffers) for layer in reader.cache.layers]
    held = [all_tokens(layer[0][1]) if retrieves(layer[0]) else None for layer in before]
    reader.step_down(
        split=MORE.outside(windows_of(model)),
        chunk_tokens=CHUNK,
        kv_dtype={"same": kv_dtype, "int4": "int4", "evicting": "model"}[lower],
        eviction=eviction("recent", 150) if lower == "evicting" else None,
    )
    for layer, old, tokens in zip(reader.cache.layers, before, held, strict=True):
        if tokens is None:
            assert layer.buffers == old, "the model's own windows stay"
            continue
        assert sorted(head for group, _ in layer.buffers for head in group.kv_heads) == [0, 1]
        for group, buffer in layer.buffers:
            assert buffer.seen_tokens == seen
            expected = tokens[:, list(group.kv_heads)]
            if group.kind == "streaming":
                assert isinstance(buffer, SinkWindowBuffer) and group.kv_heads == tuple(
                    MORE.streaming[layer.layer_idx]
                )
                stays = [at for at in range(seen) if at < 8 or at >= seen - 20]
                found = buffer.held()[0]
                assert rows(found) == rows(expected[:, :, stays])
            else:
                assert (all_tokens(buffer) - expected).abs().max() < 0.1 * expected.abs().max()
    reader.read(ids[seen : seen + 40])
    assert reader.seen_tokens == min(LENGTH, seen + 40) and reader.logits.isfinite().all()


def retrieves(pair):
    return pair[0].kind == "retrieval"


def windows_of(model):
    return ModelShape.from_config(model.config, 0, torch.float32).windows


def all_tokens(buffer):
    """Keys of all tokens, [1, kv_heads, length, head_dim], of a buffer that dropped none."""
    if isinstance(buffer, EvictingBuffer):
        return torch.cat([torch.cat([k for k, _ in buffer.kept(h)], 2) for h in range(buffer.num_heads)], 1)
    return torch.cat([keys for keys, _ in buffer.blocks()], 2)


def rows(keys):
    """The keys of each head, in any order."""
    return [sorted(head.tolist()) for head in keys[0]]


@pytest.mark.parametrize("kv_dtype", ["model", "int8"])
def test_a_moved_cache_takes_what_the_plan_says(llama, ids, kv_dtype, reader_for):
    reader, shape = reader_for(llama), ModelShape.from_config(llama.config, 0, torch.float32)
    reader.read(ids[:300])
    for split in (SOME, MORE):
        reader.step_down(split=split, chunk_tokens=CHUNK, kv_dtype=kv_dtype, eviction=None)
        held = sum(buffer.capacity_bytes for _, buffer in reader.cache.groups())
        assert held == kv_bytes(shape, split, LENGTH + 50, kv_dtype)


def test_nothing_of_the_old_cache_is_held_on_to(llama, ids, reader_for, eviction):
    reader = reader_for(llama)
    reader.read(ids)
    old = list(
        tensors_of(reader.cache)
    )  # held here, so that no new tensor comes to lie where one of them was
    reader.step_down(split=MORE, chunk_tokens=CHUNK, kv_dtype="model", eviction=eviction("recent", 150))
    before, after = (
        {tensor.untyped_storage().data_ptr() for tensor in tensors}
        for tensors in (old, tensors_of(reader.cache))
    )
    assert before and not before & after


def tensors_of(cache):
    """All tensors that a cache's buffers hold."""
    found = [vars(buffer) for _, buffer in cache.groups()]
    while found:
        value = found.pop()
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, dict):
            found += value.values()
        elif isinstance(value, list | tuple):
            found += value


@pytest.mark.parametrize(
    ("kind", "after"),
    [*((FullBuffer, after) for after in (1, 2, 3)), *((SinkWindowBuffer, after) for after in (1, 2, 3, 4))],
)
def test_a_split_that_fails_half_way_can_be_made_again(
    llama, ids, monkeypatch, by_hand, kind, after, reader_for
):
    reader = reader_for(llama, chunk_tokens=37)
    reader.read(ids[:301])
    init, calls = kind.__init__, []

    def failing(buffer, *args):
        calls.append(buffer)
        if len(calls) == after:
            raise MemoryError
        init(buffer, *args)

    monkeypatch.setattr(kind, "__init__", failing)
    step = {"split": MORE, "chunk_tokens": 41, "kv_dtype": "model", "eviction": None}
    with pytest.raises(AllocationFailed):
        reader.step_down(**step)
    assert all(buffer.seen_tokens == 301 for _, buffer in reader.cache.groups())
    assert [len(heads_of(layer)) for layer in reader.cache.layers] == [2] * 6
    moved = [layer.split == MORE for layer in reader.cache.layers]
    assert any(moved) == (after > 1) and not all(moved)
    monkeypatch.undo()
    reader.step_down(**step)
    reader.prefill(QUESTION)
    answered, logits = answer(reader)
    read = [*ids[:301], *QUESTION]
    expected = by_hand(llama, read + answered, streams_from({301: MORE}), 301, MORE)[len(read) - 1 : -1]
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def heads_of(layer):
    return [head for group, _ in layer.buffers for head in group.kv_heads]


def test_a_half_moved_cache_can_be_read_on_with(llama, ids, monkeypatch, reader_for, eviction):
    reader = reader_for(llama)
    reader.read(ids[:300])
    init, calls = SinkWindowBuffer.__init__, []

    def failing(buffer, *args):
        calls.append(buffer)
        if len(calls) == 3:
            raise MemoryError
        init(buffer, *args)

    monkeypatch.setattr(SinkWindowBuffer, "__init__", failing)
    with pytest.raises(AllocationFailed):
        reader.step_down(split=MORE, chunk_tokens=CHUNK, kv_dtype="model", eviction=eviction("recent", 150))
    reader.read(ids[300:])
    assert reader.seen_tokens == LENGTH and reader.logits.isfinite().all()
    assert {buffer.seen_tokens for _, buffer in reader.cache.groups()} == {LENGTH}


def ring_sizes(reader):
    return {b.recent_size for _, b in reader.cache.groups() if isinstance(b, SinkWindowBuffer)}


@pytest.mark.parametrize("wide", [None, 70], ids=["narrow", "wide"])
def test_windows_are_as_wide_as_the_reading_asks(llama, ids, wide, reader_for):
    some, more = (replace(split, prefill_recent_size=wide) for split in (SOME, MORE))
    reader, back = reader_for(llama), reader_for(llama)
    reader.prefill(ids[:300])
    reader.step_down(split=some, chunk_tokens=CHUNK, kv_dtype="model", eviction=None)
    assert ring_sizes(reader) == {wide or 20}
    reader.read(ids[300:400])
    assert ring_sizes(reader) == {20}
    reader.step_down(split=more, chunk_tokens=CHUNK, kv_dtype="model", eviction=None)
    assert ring_sizes(reader) == {20}
    back.prefill(ids[:300])
    mark = back.mark()
    back.read(ids[300:400])
    back.rewind(mark)  # into the reading, where the wider window is wanted again
    back.step_down(split=more, chunk_tokens=CHUNK, kv_dtype="model", eviction=None)
    assert ring_sizes(back) == {wide or 20}


def test_a_short_document_in_a_small_cache_keeps_all(llama, ids, reader_for):
    readers = [Reader(llama, NONE, capacity_tokens=capacity, chunk_tokens=7) for capacity in (28, 40)]
    for reader in readers:
        reader.read(ids[:19])
        reader.step_down(split=MORE, chunk_tokens=7, kv_dtype="model", eviction=None)
        exact = reader_for(llama, chunk_tokens=7)
        exact.read([*ids[:19], 5, 6, 7, 8])
        reader.prefill(QUESTION)
        torch.testing.assert_close(reader.logits, exact.logits, atol=1e-4, rtol=1e-4)
        assert {b.kept_tokens(0, 23) for _, b in reader.cache.groups()} == {23}


@pytest.mark.parametrize(
    ("now", "then", "within"),
    [
        (HeadSplit.exact(), MORE, True),
        (NONE, HeadSplit.exact(), True),
        (SOME, MORE, True),
        (SOME, SOME, True),
        (MORE, SOME, False),
        (SOME, HeadSplit.exact(), False),
        (SOME, replace(MORE, sink_size=9), False),
        (SOME, replace(MORE, recent_size=21), False),
        (NONE, replace(MORE, recent_size=21), True),
        (SOME, replace(MORE, prefill_recent_size=70), True),
    ],
)
def test_a_split_lies_within_one_of_more_heads_and_the_same_windows(now, then, within):
    assert now.is_within(then) == within


def test_heads_that_stream_or_dropped_tokens_cant_go_back(llama, ids, reader_for, eviction):
    streaming, evicting = reader_for(llama, split=MORE), reader_for(llama, eviction=eviction("recent", 150))
    for reader, split in ((streaming, SOME), (evicting, SOME)):
        reader.read(ids[:300])
        keep = reader.cache.eviction
        with pytest.raises(AssertionError):
            reader.step_down(split=split, chunk_tokens=CHUNK, kv_dtype="model", eviction=keep)
