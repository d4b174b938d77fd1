"""A wider window while a document is read: as plain masked attention has it, and given back afterwards."""

from itertools import pairwise

import pytest
import torch
from transformers import AttentionInterface, AutoModelForCausalLM, LlamaConfig

from lcdoc.engine.attention import attend_buffer, register
from lcdoc.engine.budget import Limits, kv_bytes, ladder, narrowed_bytes
from lcdoc.engine.buffers import SinkWindowBuffer
from lcdoc.engine.flops import prefill_flops
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.model_shape import ModelShape
from lcdoc.engine.profiles import HeadProfile
from lcdoc.engine.reader import Reader

SINK, NARROW, WIDE, VOCAB = 4, 12, 40, 97
STREAMING = (frozenset({1}), frozenset(), frozenset({0, 1}))
SPLIT = HeadSplit(STREAMING, SINK, NARROW, WIDE)
QUESTION = [5, 6, 7, 8, 9]


def visible(length, document, sink, narrow, wide):
    """[length, length]: what a streaming head's query sees."""
    row, column = torch.arange(length)[:, None], torch.arange(length)
    window = torch.where(row < document, wide, narrow)
    return (column <= row) & ((column < sink) | (column > row - window))


@pytest.mark.parametrize("sizes", [(0, 1, 2), (0, 3, 17), (4, 12, 40), (64, 1, 100), (10, 30, 300)], ids=str)
@pytest.mark.parametrize("document", [1, 3, 23, 64, 350])
@pytest.mark.parametrize("chunk", [1, 7, 64, 1024])
def test_attention_equals_masked_attention_across_the_narrowing(sizes, document, chunk):
    sink, narrow, wide = sizes
    length = document + 40
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(1, 6, length, 16, generator=generator)
    keys, values = (torch.randn(1, 2, length, 16, generator=generator) for _ in range(2))
    buffer, outputs = SinkWindowBuffer(keys, values, sink, wide), []
    steps = [*range(0, document, chunk), document, document + 25, *range(document + 26, length + 1)]
    for start, stop in pairwise(steps):
        if start == document:
            buffer.narrow(narrow)
        span = slice(start, stop)
        part = query[:, :, span], keys[:, :, span], values[:, :, span]
        outputs.append(attend_buffer(*part, buffer, 0.25)[0])
    expected = torch.nn.functional.scaled_dot_product_attention(
        query,
        keys.repeat_interleave(3, 1),
        values.repeat_interleave(3, 1),
        attn_mask=visible(length, document, *sizes),
        scale=0.25,
    )
    torch.testing.assert_close(torch.cat(outputs, 2), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("length", [2, 9, 16, 30, 44, 45, 200])
def test_narrowing_keeps_the_sinks_and_the_last_tokens_and_frees_the_rest(length):
    keys = torch.randn(1, 2, length, 16, generator=torch.Generator().manual_seed(1))
    buffer = SinkWindowBuffer(keys, keys, SINK, WIDE)
    buffer.append(keys, keys)
    buffer.narrow(NARROW)
    expected = [p for p in range(length) if p < SINK or p >= length - NARROW]
    order = [int((keys[0, 0] == row).all(-1).nonzero()[0]) for row in buffer.held()[0][0, 0]]
    assert sorted(order) == expected and buffer.seen_tokens == length
    assert [buffer.kept_tokens(p, p + 1) for p in range(length)] == [
        int(p in expected) for p in range(length)
    ]
    assert buffer.nbytes == 2 * 2 * 16 * 4 * len(expected)
    held = buffer.keys.untyped_storage().nbytes() + buffer.values.untyped_storage().nbytes()
    assert held == buffer.capacity_bytes == 2 * 2 * 16 * 4 * (SINK + NARROW)


def masked(document):
    """Attention over all tokens at once, each KV head under a mask of its own."""

    def forward(module, query, key, value, attention_mask, scaling, **kwargs):
        length = key.shape[2]
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        streams = visible(length, document, SINK, NARROW, WIDE)
        heads = STREAMING[module.layer_idx]
        masks = torch.stack([streams if head // 2 in heads else causal for head in range(4)])
        output = torch.nn.functional.scaled_dot_product_attention(
            query, key.repeat_interleave(2, 1), value.repeat_interleave(2, 1), attn_mask=masks, scale=scaling
        )
        return output.transpose(1, 2).contiguous(), None

    return forward


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=4096,
        initializer_range=0.2,
    )
    return AutoModelForCausalLM.from_config(config).eval()


def text(length):
    return torch.randint(VOCAB, (length,), generator=torch.Generator().manual_seed(2)).tolist()


def reader_for(model, split=SPLIT, chunk_tokens=32, capacity_tokens=500, kv_dtype="model"):
    model.set_attn_implementation(register())
    return Reader(model, split, capacity_tokens=capacity_tokens, chunk_tokens=chunk_tokens, kv_dtype=kv_dtype)


def answer(reader, count=12):
    """Token ids and the logits that each was picked from."""
    seen = []

    def pick(logits):
        seen.append(logits.clone())
        return int(logits.argmax())

    return list(reader.decode(pick, (), count)), torch.stack(seen)


@pytest.mark.parametrize("document", [3, 11, 16, 30, 44, 200])
@pytest.mark.parametrize("chunk_tokens", [5, 32, 1024])
@pytest.mark.parametrize("spare", [0, 300], ids=["tight", "roomy"])
def test_a_reading_equals_plain_masked_attention(model, document, chunk_tokens, spare):
    ids = text(document)
    capacity = document + len(QUESTION) + 12 + spare
    reader = reader_for(model, chunk_tokens=chunk_tokens, capacity_tokens=capacity)
    reader.read(ids)
    after_document = reader.logits.clone()
    reader.prefill(QUESTION)
    answered, logits = answer(reader)
    AttentionInterface.register("masked_by_hand", masked(document))
    model.set_attn_implementation("masked_by_hand")
    with torch.inference_mode():
        expected = model(torch.tensor([ids + QUESTION + answered]), use_cache=False).logits[0]
    torch.testing.assert_close(after_document, expected[document - 1], atol=1e-4, rtol=1e-4)
    start = document + len(QUESTION) - 1
    torch.testing.assert_close(logits, expected[start : start + 12], atol=1e-4, rtol=1e-4)


def test_the_wider_window_makes_a_difference(model):
    readers = [reader_for(model, HeadSplit(STREAMING, SINK, NARROW, wide)) for wide in (None, WIDE)]
    for reader in readers:
        reader.read(text(200))
    assert (readers[0].logits - readers[1].logits).abs().max() > 1e-2


@pytest.mark.parametrize("kv_dtype", ["model", "int8"])
@pytest.mark.parametrize("capacity", [10, 30, 50, 400])
def test_the_plan_counts_the_wider_window_and_what_comes_back(model, kv_dtype, capacity):
    reader = reader_for(model, capacity_tokens=capacity, kv_dtype=kv_dtype)
    shape, peaks = ModelShape.from_config(model.config, 0, torch.float32), []
    reader.read(text(capacity - 4), lambda _: peaks.append(allocated(reader)))
    planned = kv_bytes(shape, SPLIT, capacity, kv_dtype)
    assert set(peaks) == {planned}
    narrow = kv_bytes(shape, HeadSplit(STREAMING, SINK, NARROW), capacity, kv_dtype)
    given_back = narrowed_bytes(shape, SPLIT, capacity)
    assert allocated(reader) == narrow == planned - given_back
    assert (given_back > 0) == (capacity > SINK + NARROW)
    if capacity == 400:
        assert given_back == 3 * (WIDE - NARROW) * 2 * 16 * 4


def allocated(reader):
    return sum(buffer.capacity_bytes for _, buffer in reader.cache.groups())


def test_a_mark_made_before_the_narrowing_brings_the_wider_window_back(model):
    ids, reader, whole = text(300), reader_for(model), reader_for(model)
    reader.prefill(ids[:100])
    mark = reader.mark()
    reader.read(ids[100:150])
    answer(reader)
    reader.rewind(mark)
    wide = [b.recent_size for _, b in reader.cache.groups() if isinstance(b, SinkWindowBuffer)]
    assert wide == [WIDE, WIDE]
    for each in (reader, whole):
        each.read(ids[each.seen_tokens :])
    torch.testing.assert_close(reader.logits, whole.logits, atol=1e-4, rtol=1e-4)
    assert allocated(reader) == allocated(whole)


def test_questions_share_one_reading(model):
    reader, alone = reader_for(model), reader_for(model)
    reader.read(text(150))
    mark, before = reader.mark(), reader.cache.nbytes
    for question in ([1, 2], QUESTION):
        reader.rewind(mark)
        assert reader.cache.nbytes == before
        reader.prefill(question)
        answered = answer(reader)
    alone.read(text(150))
    alone.prefill(QUESTION)
    expected = answer(alone)
    assert answered[0] == expected[0] and torch.equal(answered[1], expected[1])


def test_decoding_narrows_where_nothing_else_did(model):
    reader = reader_for(model)
    reader.prefill(text(150))
    wide = allocated(reader)
    answer(reader)
    assert allocated(reader) == wide - 3 * (WIDE - NARROW) * 2 * 16 * 4


def test_a_profile_hands_its_wider_window_on():
    profile = HeadProfile("tiny", ((0.1, 0.9), (0.2, 0.8)), 4, 12, "test", 40)
    assert profile.streaming(2).prefill_recent_size == 40
    assert profile.streaming(2, recent_size=39).prefill_recent_size == 40
    for own in (40, 64):
        assert profile.streaming(2, recent_size=own).prefill_recent_size is None
    plain = HeadProfile("tiny", profile.gates, 4, 12, "test")
    equal = HeadProfile("tiny", profile.gates, 4, 12, "test", 12)
    assert plain.streaming(2) == equal.streaming(2) == HeadSplit((frozenset({0}),) * 2, 4, 12)


def test_what_reading_and_answering_take(model):
    shape = ModelShape.from_config(model.config, 0, torch.float32)
    narrow, wide = (HeadProfile("tiny", ((0.1, 0.4),) * 3, 4, 12, "test", w) for w in (None, 40))
    sizes = {"capacity_tokens": 400, "chunk_tokens": 100, "base_bytes": 0, "limits": Limits()}
    for count in range(1, 6):
        rungs = [
            next(r for r in ladder(shape, **sizes, profile=p) if named(r, count)) for p in (narrow, wide)
        ]
        assert rungs[1].kv_bytes - rungs[0].kv_bytes == rungs[1].narrowed_bytes == count * 28 * 2 * 16 * 4
        assert rungs[0].narrowed_bytes == 0
        work = rungs[1].workspace_bytes - rungs[0].workspace_bytes
        rings = 2 * (1 if count <= 3 else 2) * 40 * 2 * 16 * 4
        assert work == rings + rungs[1].narrowed_bytes, "one layer's rings twice, and a mark of them all"
        assert rungs[1].peak_bytes - rungs[0].peak_bytes == rungs[1].narrowed_bytes + work
    options = {"tokens": 400, "chunk_tokens": 100, "layer_weights": 0}
    flops = [prefill_flops(shape, profile.streaming(6), **options).causal for profile in (narrow, wide)]
    pairs = [sum(min(token + 1, window) for token in range(400)) for window in (16, 44)]
    assert flops == [3 * 4 * 16 * 4 * each for each in pairs]


def named(rung, count):
    return rung.split.num_streaming_heads == count
