"""A chunk that memory is refused for: nothing read is lost, and the reading goes on in a lesser cache."""

import pytest
import torch

from lcdoc.engine.evicting_buffer import EvictingBuffer
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.memory import AllocationFailed, allocating
from lcdoc.engine.paged_buffer import PagedBuffer

LENGTH, CHUNK = 1100, 200
QUESTION = [5, 6, 7, 8]
REFUSALS = {
    "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "cpu": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 8 bytes."),
    "python": MemoryError(),
}


@pytest.fixture(scope="module", params=["llama", "gemma3_text"])
def model(request, model_of):
    return model_of("llama") if request.param == "llama" else model_of("gemma3_text", sliding_window=48)


def refuse(monkeypatch, model, layer, chunk, refusal=REFUSALS["cpu"]):
    """Makes the feed-forward of one layer fail once, at the chunk with this number; returns the lengths of the
    chunks that came by the first layer."""
    lengths, part = [], model.model.layers[layer].mlp
    forward, first = part.forward, model.model.layers[0].self_attn.q_proj.forward

    def failing(hidden):
        if len(lengths) == chunk and not done:
            done.append(True)
            raise refusal
        return forward(hidden)

    def counting(hidden):
        lengths.append(hidden.shape[1])
        return first(hidden)

    done = []
    monkeypatch.setattr(part, "forward", failing)
    monkeypatch.setattr(model.model.layers[0].self_attn.q_proj, "forward", counting)
    return lengths


def fail_at_third(monkeypatch, reader, ids, **options):
    lengths = refuse(monkeypatch, reader.model, 3, 3)
    with pytest.raises(AllocationFailed, match="an allocation failed: .*you tried 8 bytes;"):
        reader.read(ids, **options)
    assert reader.seen_tokens == 2 * CHUNK
    return lengths


@pytest.mark.parametrize("kind", REFUSALS)
def test_refusals_of_every_kind_are_known(kind):
    def refused():
        raise REFUSALS[kind]

    with pytest.raises(AllocationFailed) as caught:
        allocating(refused)
    assert caught.value.__context__ is None, "it would hold on to the frames that hold the memory"


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="^shapes$"):
        allocating(lambda: (_ for _ in ()).throw(RuntimeError("shapes")))


@pytest.mark.parametrize("kv_dtype", ["model", "int8"])
@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streaming"])
def test_the_same_chunk_again_is_as_if_nothing_had_failed(
    model, ids, monkeypatch, kv_dtype, streaming, reader_for
):
    split = HeadSplit((frozenset({1}),) * 6, 8, 60) if streaming else None
    whole, reader = (reader_for(model, kv_dtype=kv_dtype, split=split) for _ in range(2))
    whole.read(ids)
    lengths = fail_at_third(monkeypatch, reader, ids)
    reader.read(ids[reader.seen_tokens :])
    assert torch.equal(reader.logits, whole.logits)
    assert lengths == [200, 200, 200, 200, 200, 200, 100]


def test_the_first_chunk_leaves_nothing_behind(model, ids, monkeypatch, reader_for):
    reader = reader_for(model)
    refuse(monkeypatch, model, 3, 1)
    with pytest.raises(AllocationFailed):
        reader.read(ids)
    assert reader.seen_tokens == 0 and reader.cache.nbytes == 0
    reader.step_down(split=HeadSplit.exact(), chunk_tokens=CHUNK, kv_dtype="int4", eviction=None)
    reader.read(ids)
    lesser = reader_for(model, kv_dtype="int4")
    lesser.read(ids)
    assert torch.equal(reader.logits, lesser.logits)


def test_smaller_chunks_go_on_in_the_same_cache(model, ids, monkeypatch, reader_for):
    reader, whole = reader_for(model), reader_for(model)
    lengths = fail_at_third(monkeypatch, reader, ids)
    buffers = [buffer for _, buffer in reader.cache.groups()]
    reader.step_down(split=HeadSplit.exact(), chunk_tokens=100, kv_dtype="model", eviction=None)
    reader.read(ids[reader.seen_tokens :])
    assert lengths == [200, 200, 200] + [100] * 7
    assert all(old is new for old, (_, new) in zip(buffers, reader.cache.groups(), strict=True))
    # The same chunks without a failure give the same numbers, to the bit.
    whole.read(ids[: 2 * CHUNK])
    whole.chunk_tokens = 100
    whole.read(ids[2 * CHUNK :])
    assert torch.equal(reader.logits, whole.logits)


@pytest.mark.parametrize(
    "steps", [("bfloat16",), ("int8",), ("int4",), ("bfloat16", "int8", "int4")], ids=str
)
def test_fewer_bits_take_over_what_was_read(model, ids, monkeypatch, steps, reader_for):
    reader, lesser, exact = reader_for(model), reader_for(model, kv_dtype=steps[-1]), reader_for(model)
    lengths = fail_at_third(monkeypatch, reader, ids)
    for kv_dtype in steps:
        reader.step_down(split=HeadSplit.exact(), chunk_tokens=CHUNK, kv_dtype=kv_dtype, eviction=None)
        assert reader.seen_tokens == 2 * CHUNK
    reader.read(ids[reader.seen_tokens :])
    assert lengths == [200, 200, 200, 200, 200, 200, 100]
    lesser.read(ids)
    exact.read(ids)
    for (_, moved), (_, fresh) in zip(reader.cache.groups(), lesser.cache.groups(), strict=True):
        assert type(moved) is type(fresh) and moved.capacity_bytes == fresh.capacity_bytes
        assert moved.seen_tokens == LENGTH
    rounding = (lesser.logits - exact.logits).norm()
    assert 0 < (reader.logits - exact.logits).norm() < 2 * rounding


def test_tokens_are_moved_in_order(model, ids, reader_for):
    reader = reader_for(model, kv_dtype="bfloat16")
    reader.read(ids)
    held = [torch.cat([keys for keys, _ in b.blocks()], 2) for b in paged(reader)]
    reader.step_down(split=HeadSplit.exact(), chunk_tokens=CHUNK, kv_dtype="int8", eviction=None)
    assert held
    for before, buffer in zip(held, paged(reader), strict=True):
        after = torch.cat([keys for keys, _ in buffer.blocks()], 2)
        assert after.shape == before.shape and (after - before).abs().max() < 0.02 * before.abs().max()


def paged(reader):
    return [buffer for _, buffer in reader.cache.groups() if isinstance(buffer, PagedBuffer)]


@pytest.mark.parametrize("kv_dtype", ["model", "bfloat16", "int8"])
@pytest.mark.parametrize("policy", ["question", "h2o", "recent"])
def test_eviction_takes_over_what_was_read_and_drops_with_the_next_chunk(
    model, ids, monkeypatch, policy, kv_dtype, reader_for, eviction
):
    keep = eviction(policy, 300)
    reader = reader_for(model, kv_dtype=kv_dtype)
    lengths = fail_at_third(monkeypatch, reader, ids, questions=[QUESTION])
    reader.step_down(split=HeadSplit.exact(), chunk_tokens=CHUNK, kv_dtype="model", eviction=keep)
    evicting = reader.cache.evicting
    assert evicting and all(b.num_entries == 2 * CHUNK * b.num_heads for b in evicting)
    reader.read(ids[reader.seen_tokens :], questions=[QUESTION])
    assert [length for length in lengths if length > len(QUESTION)] == [200, 200, 200, 200, 200, 200, 100]
    heads = sum(buffer.num_heads for buffer in evicting)
    assert sum(buffer.num_entries for buffer in evicting) == 300 * heads
    assert all(buffer.seen_tokens == LENGTH for _, buffer in reader.cache.groups())


def test_eviction_that_drops_nothing_changes_nothing(model, ids, monkeypatch, reader_for, eviction):
    reader, exact = reader_for(model), reader_for(model)
    fail_at_third(monkeypatch, reader, ids)
    reader.step_down(
        split=HeadSplit.exact(), chunk_tokens=CHUNK, kv_dtype="model", eviction=eviction("recent", LENGTH)
    )
    reader.read(ids[reader.seen_tokens :])
    exact.read(ids)
    torch.testing.assert_close(reader.logits, exact.logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("policy", ["question", "h2o"])
def test_evicting_more_drops_at_once_by_the_scores_there_are(
    model, ids, monkeypatch, policy, reader_for, eviction
):
    reader = reader_for(model, eviction=eviction(policy, 300))
    refuse(monkeypatch, model, 3, 7 if policy == "question" else 4)
    with pytest.raises(AllocationFailed):
        reader.read(ids, questions=[QUESTION])
    seen = reader.seen_tokens
    assert CHUNK < seen < LENGTH
    reader.step_down(
        split=HeadSplit.exact(), chunk_tokens=CHUNK, kv_dtype="model", eviction=eviction(policy, 150)
    )
    evicting = reader.cache.evicting
    assert sum(b.num_entries for b in evicting) == 150 * sum(b.num_heads for b in evicting)
    reader.read(ids[seen:], questions=[QUESTION])
    assert reader.seen_tokens == LENGTH


def test_a_failure_while_dropping_is_made_up_for(model, ids, monkeypatch, reader_for, eviction):
    reader, whole = (reader_for(model, eviction=eviction("recent", 300)) for _ in range(2))
    whole.read(ids)
    keep, calls = EvictingBuffer.keep, []

    def failing(buffer, masks):
        calls.append(buffer)
        if len(calls) == 3 * len(reader.cache.evicting):  # the last layer, at the third chunk
            raise MemoryError
        keep(buffer, masks)

    monkeypatch.setattr(EvictingBuffer, "keep", failing)
    with pytest.raises(AllocationFailed):
        reader.read(ids)
    assert reader.seen_tokens == 3 * CHUNK
    reader.read(ids[reader.seen_tokens :])
    assert torch.equal(reader.logits, whole.logits)


def test_a_move_that_fails_can_be_taken_further(model, ids, monkeypatch, reader_for):
    reader = reader_for(model)
    fail_at_third(monkeypatch, reader, ids)
    append, calls = PagedBuffer.append, []

    def failing(buffer, keys, values):
        calls.append(buffer)
        if len(calls) == 1:
            raise REFUSALS["cuda"]
        append(buffer, keys, values)

    monkeypatch.setattr(PagedBuffer, "append", failing)
    with pytest.raises(AllocationFailed):
        reader.step_down(split=HeadSplit.exact(), chunk_tokens=CHUNK, kv_dtype="int8", eviction=None)
    assert all(buffer.seen_tokens == 2 * CHUNK for _, buffer in reader.cache.groups())
    reader.step_down(split=HeadSplit.exact(), chunk_tokens=CHUNK, kv_dtype="int4", eviction=None)
    reader.read(ids[reader.seen_tokens :])
    assert reader.seen_tokens == LENGTH and paged(reader)
