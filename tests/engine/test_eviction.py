"""Eviction: what each policy keeps, that memory is freed, and that nothing else changes."""

from dataclasses import replace

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from lcdoc.config import EVICTION_POLICIES
from lcdoc.engine.attention import attend_buffer, register
from lcdoc.engine.budget import kv_bytes
from lcdoc.engine.buffers import FullBuffer
from lcdoc.engine.evicting_buffer import LEDGER_BYTES, EvictingBuffer
from lcdoc.engine.eviction import POLICIES, RECENT_TOKENS, SINK_TOKENS, Eviction
from lcdoc.engine.eviction.allocation import choose_kept, spread
from lcdoc.engine.eviction.demand import SHARES, Demand
from lcdoc.engine.eviction.evidence import Evidence
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.model_shape import ModelShape
from lcdoc.engine.profiles import HeadProfile
from lcdoc.engine.reader import Reader

HEADS, GROUP, HEAD_DIM = 2, 3, 32
LAYERS, VOCAB = 3, 97
DOCUMENT, QUESTION, REPEAT = 400, 12, 9
NAMES = sorted(POLICIES)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=HEADS * GROUP * HEAD_DIM,
        intermediate_size=64,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS * GROUP,
        num_key_value_heads=HEADS,
        head_dim=HEAD_DIM,
        vocab_size=VOCAB,
        max_position_embeddings=2048,
    )
    config._attn_implementation = register()
    return LlamaForCausalLM(config).eval()


def ids(length, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(VOCAB, (length,), generator=generator).tolist()


def reader_for(model, eviction, chunk_tokens=64, split=None, kv_dtype="model"):
    split = split or HeadSplit.exact()
    return Reader(
        model, split, capacity_tokens=600, chunk_tokens=chunk_tokens, kv_dtype=kv_dtype, eviction=eviction
    )


def read(model, name, keep_tokens, document=DOCUMENT, **options):
    reader = reader_for(model, Eviction(POLICIES[name], keep_tokens, 200), **options)
    reader.read(ids(document, 1), questions=[ids(QUESTION, 2)], repeat_ids=ids(REPEAT, 3))
    return reader


def tensors(length, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = (HEADS * GROUP, HEADS, HEADS)
    return [torch.randn(1, heads, length, HEAD_DIM, generator=generator) for heads in shapes]


def evidence(queries, keys, values, **changes):
    """All queries at the end of the keys, and their true log-sum-exp."""
    length, num_queries = keys.shape[2], queries.shape[2]
    grouped = queries.unflatten(1, (HEADS, GROUP))
    scores = grouped @ keys.transpose(-1, -2).unsqueeze(2) * 0.125
    fields = {
        "queries": grouped,
        "lse": torch.logsumexp(scores, dim=-1),
        "keys": keys,
        "values": values,
        "query_positions": torch.arange(length, length + num_queries),
        "key_positions": torch.arange(length),
        "previous": torch.zeros(1, HEADS, length),
        "scale": 0.125,
    }
    return Evidence(**fields | changes)


def test_every_policy_can_be_chosen():
    assert sorted(EVICTION_POLICIES) == NAMES


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("recent", "keydiff", "expected")])
def test_attended_tokens_score_best(name):
    queries, keys, values = tensors(100)
    queries += 1.0
    keys[:, :, 40] = 2.0
    found = POLICIES[name].score(evidence(queries, keys, values))
    assert found.shape == (1, HEADS, 100) and (found.argmax(-1) - 40).abs().max() <= 3


def test_expected_attention_prefers_what_queries_point_to_and_large_values():
    queries, keys, values = tensors(100)
    queries += 1.0
    keys[:, :, 40] = 1.0
    policy = POLICIES["expected"]
    assert policy.score(evidence(queries, keys, values)).argmax(-1).eq(40).all()
    loud = values.clone()
    loud[:, :, 60] *= 1000
    assert policy.score(evidence(queries, keys, loud)).argmax(-1).eq(60).all()


def test_keydiff_prefers_a_key_unlike_the_others():
    queries, keys, values = tensors(100)
    keys = 0.1 * keys + 1.0
    keys[:, :, 40] = -1.0
    assert POLICIES["keydiff"].score(evidence(queries, keys, values)).argmax(-1).eq(40).all()


def test_recent_prefers_the_last():
    found = POLICIES["recent"].score(evidence(*tensors(100)))
    assert (found.diff(dim=-1) > 0).all()


@pytest.mark.parametrize("name", ["h2o", "reconstruct"])
def test_scores_gathered_before_count(name):
    before = torch.zeros(1, HEADS, 100)
    before[:, :, 7] = 1e6
    assert POLICIES[name].score(evidence(*tensors(100), previous=before)).argmax(-1).eq(7).all()


def test_attention_is_softmax_over_all_that_was_seen():
    queries, keys, values = tensors(50)
    found = evidence(queries, keys, values).attention()
    assert torch.allclose(found.sum(-1), torch.ones(()), atol=1e-5)
    earlier = evidence(queries, keys, values, query_positions=torch.arange(50)).attention()
    assert earlier.triu(1).abs().max() == 0


def test_a_spread_falls_off_on_both_sides_and_nearer_is_better():
    scores = torch.zeros(21)
    scores[10] = 1.0
    found = spread(scores, torch.arange(21), 3, 0.5)
    assert torch.allclose(found[7:14], torch.tensor([0.25, 0.5, 0.75, 2.0, 0.75, 0.5, 0.25]) / 2)
    assert found[:7].abs().sum() == found[14:].abs().sum() == 0
    assert torch.equal(spread(scores, torch.arange(21), 0, 1.0), scores)


def test_a_spread_goes_by_positions_and_not_over_what_was_dropped_between():
    scores = torch.tensor([0.0, 1.0, 0.0, 0.0])
    found = spread(scores, torch.tensor([5, 8, 10, 90]), 3, 1.0)
    assert torch.allclose(found, torch.tensor([0.25, 1.0, 0.5, 0.0]))


def test_heads_share_places_down_to_a_floor():
    loud, quiet = torch.rand(1000) + 1.0, torch.rand(1000)
    free = [torch.zeros(1000, dtype=torch.bool)] * 2
    apart = choose_kept([loud, quiet], free, 100, shares=False)
    assert [int(mask.sum()) for mask in apart] == [100, 100]
    together = [int(mask.sum()) for mask in choose_kept([loud, quiet], free, 100, shares=True)]
    assert sum(together) == 200 and 0 < together[1] < 100 < together[0]


@pytest.mark.parametrize("shares", [True, False])
def test_protected_tokens_always_stay(shares):
    scores = [torch.rand(50), torch.rand(80)]
    protected = [torch.arange(50) < 30, torch.arange(80) >= 60]
    masks = choose_kept(scores, protected, 10, shares)
    assert all((mask | ~kept).all() for mask, kept in zip(masks, protected, strict=True))


def test_keeping_everything_is_attention_over_everything():
    keys_shape = tensors(1)
    full = FullBuffer(*keys_shape[1:], 300)
    buffer = EvictingBuffer(*keys_shape[1:], Eviction(POLICIES["recent"], 300, 300), 300, torch.float32)
    for step, length in enumerate((100, 1, 57)):
        queries, keys, values = tensors(length, seed=step)
        expected, expected_lse = attend_buffer(queries, keys, values, full, 0.125)
        found, lse = attend_buffer(queries, keys, values, buffer, 0.125)
        assert torch.allclose(found, expected, atol=1e-5) and torch.allclose(lse, expected_lse, atol=1e-5)
        scores, _ = buffer.candidates()
        buffer.keep([torch.ones(len(score), dtype=torch.bool) for score in scores])
    assert buffer.kept_tokens(0, 158) == 158 and buffer.num_tail == 0


@pytest.mark.parametrize("softcap", [None, 3.0])
def test_dropped_tokens_leave_their_means_and_their_memory_is_freed(softcap):
    _, keys, values = tensors(200)
    buffer = EvictingBuffer(keys, values, Eviction(POLICIES["recent"], 50, 200), 3000, torch.float32)
    buffer.append(keys, values)
    masks = [torch.rand(200, generator=torch.Generator().manual_seed(head)) < 0.2 for head in range(HEADS)]
    buffer.keep(masks)
    held = sum(int(mask.sum()) for mask in masks)
    assert buffer.num_entries == held
    means = 3 * HEADS * (2 * HEAD_DIM + 2) * 4  # of three stretches of 1,024 tokens
    assert buffer.nbytes == held * (2 * HEAD_DIM * 4 + LEDGER_BYTES) + means
    storages = [pair[part].untyped_storage().nbytes() for pair in buffer._kept for part in (0, 1)]
    assert sum(storages) == held * 2 * HEAD_DIM * 4
    assert buffer.kept_tokens(10, 60) == sum(int(mask[10:60].sum()) for mask in masks) / HEADS
    query = torch.randn(1, HEADS * GROUP, 1, HEAD_DIM)
    new = torch.randn(1, HEADS, 1, HEAD_DIM)
    found, _ = attend_buffer(query, new, new, buffer, 0.125, softcap)
    for head, mask in enumerate(masks):
        span = slice(head, head + 1)
        gone = ~mask
        seen = [
            torch.cat((x[:, span, mask], x[:, span, gone].mean(2, keepdim=True), new[:, span]), 2)
            for x in (keys, values)
        ]
        rows = query[:, head * GROUP : (head + 1) * GROUP]
        scores = rows @ seen[0].transpose(-1, -2) * 0.125
        if softcap is not None:
            scores = torch.tanh(scores / softcap) * softcap
        scores[..., -2] += gone.sum().log()
        expected = torch.softmax(scores, -1) @ seen[1]
        assert torch.allclose(found[:, head * GROUP : (head + 1) * GROUP], expected, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_reading_holds_what_it_may_and_keeps_both_ends(model, name):
    reader = read(model, name, 100)
    buffers = reader.cache.evicting
    assert len(buffers) == LAYERS and reader.seen_tokens == DOCUMENT
    assert sum(buffer.num_entries for buffer in buffers) == 100 * HEADS * LAYERS
    for buffer in buffers:
        assert buffer.num_tail == 0
        assert buffer.kept_tokens(0, SINK_TOKENS) == SINK_TOKENS
        assert buffer.kept_tokens(DOCUMENT - RECENT_TOKENS, DOCUMENT) == RECENT_TOKENS


@pytest.mark.parametrize("name", NAMES)
def test_a_probe_leaves_nothing_behind(model, name):
    """A last chunk that is not followed by an eviction is read as if nothing had been asked."""
    exact = reader_for(model, None)
    exact.prefill(ids(DOCUMENT, 1))
    reader = read(model, name, DOCUMENT)
    assert reader.seen_tokens == DOCUMENT
    assert torch.allclose(reader.logits, exact.logits, atol=1e-4)


@pytest.mark.parametrize("chunk_tokens", [1, 37, 64, 400])
def test_odd_chunks(model, chunk_tokens):
    if chunk_tokens < 200:
        document = 120 if chunk_tokens == 1 else DOCUMENT  # a pass and a probe for each token take their time
        reader = read(model, "question", 90, document, chunk_tokens=chunk_tokens)
    else:
        reader = reader_for(model, Eviction(POLICIES["question"], 90, 500), chunk_tokens)
        reader.read(ids(DOCUMENT, 1), questions=[ids(QUESTION, 2)])
    assert sum(buffer.num_entries for buffer in reader.cache.evicting) == 90 * HEADS * LAYERS


def test_questions_after_one_another_are_answered_as_if_alone(model):
    asked = [ids(QUESTION, 5), ids(QUESTION, 6)]
    alone = []
    for question in asked:
        reader = read(model, "snapkv", 100)
        reader.prefill(question)
        alone.append(reader.logits)
    reader = read(model, "snapkv", 100)
    mark = reader.mark()
    for question, expected in zip(asked, alone, strict=True):
        reader.prefill(question)
        assert torch.allclose(reader.logits, expected, atol=1e-5)
        reader.rewind(mark)


def test_each_known_question_is_listened_to(model):
    one, two = ids(QUESTION, 5), ids(QUESTION, 6)

    def kept(questions):
        reader = reader_for(model, Eviction(POLICIES["question"], 60, 200))
        reader.read(ids(DOCUMENT, 1), questions=questions)
        return [positions.tolist() for buffer in reader.cache.evicting for positions in buffer._positions]

    assert kept([one, two]) == kept([two, one])
    assert kept([one, two]) != kept([one]) != kept([two])


def test_streaming_heads_keep_their_own_and_retrieval_heads_share(model):
    profile = HeadProfile("tiny", ((0.1, 0.9), (0.2, 0.8), (0.3, 0.7)), 8, 32, "test")
    reader = read(model, "snapkv", 100, split=profile.streaming(3))
    assert sum(buffer.num_entries for buffer in reader.cache.evicting) == 100 * 3
    kinds = {group.kind for group, _ in reader.cache.groups()}
    assert kinds == {"retrieval", "streaming"}


@pytest.mark.parametrize("kv_dtype", ["model", "bfloat16"])
def test_planned_bytes_are_those_held(model, kv_dtype):
    eviction = Eviction(replace(POLICIES["snapkv"], shares=False), 100, 200)
    shape = ModelShape.from_config(model.config, 0, torch.float32)
    reader = reader_for(model, eviction, kv_dtype=kv_dtype)
    reader.read(ids(DOCUMENT, 1))
    planned = kv_bytes(shape, HeadSplit.exact(), 600, kv_dtype, eviction)
    tail = LAYERS * HEADS * 200 * (2 * HEAD_DIM * 4 + 4)
    assert planned == reader.cache.nbytes + tail


def test_a_demand_goes_down_to_both_ends_and_no_further():
    demand = Demand(POLICIES["question"], 1000, after_tokens=90, question_tokens=40)
    found = demand.evictions(64)
    assert [eviction.keep_tokens for eviction in found] == [int(1000 * share) for share in SHARES]
    assert {eviction.tail_tokens for eviction in found} == {64 + 40}
    short = Demand(POLICIES["question"], 100, after_tokens=90, question_tokens=40)
    assert min(eviction.keep_tokens for eviction in short.evictions(64)) == SINK_TOKENS + RECENT_TOKENS
    given = Demand(POLICIES["reconstruct"], 1000, after_tokens=90, question_tokens=40, keep_tokens=300)
    assert given.evictions(64) == [Eviction(POLICIES["reconstruct"], 300, 64 + 64 + 40)]
    assert Demand(POLICIES["recent"], 50, 90, 40, keep_tokens=300).evictions(64) == []


@pytest.mark.parametrize("chunk_tokens", [33, 64])
def test_closed_gaps_are_a_text_without_what_was_dropped(chunk_tokens):
    """With one layer a key depends on its token and position alone: what is left of the text is as if never longer."""
    torch.manual_seed(1)
    config = LlamaConfig(
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=VOCAB,
        max_position_embeddings=256,
    )
    config._attn_implementation = register()
    model = LlamaForCausalLM(config).eval()
    document, question = ids(DOCUMENT, 1), ids(QUESTION, 2)
    reader = reader_for(model, Eviction(POLICIES["recent"], 100, 200, close_gaps=True), chunk_tokens)
    reader.read(document)
    assert reader.seen_tokens == DOCUMENT and reader.cache.next_position == 100
    left = reader_for(model, None)
    left.prefill(document[:SINK_TOKENS] + document[-(100 - SINK_TOKENS) :])
    for part in (question[:5], question[5:]):
        reader.prefill(part)
        left.prefill(part)
        assert torch.allclose(reader.logits, left.logits, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_positions_stay_within_what_is_kept_and_a_chunk(model, name):
    reader = reader_for(model, Eviction(POLICIES[name], 100, 200, close_gaps=True))
    highest = []
    original = model.model.forward

    def spy(*args, **kwargs):
        highest.append(int(kwargs["position_ids"].max()))
        return original(*args, **kwargs)

    model.model.forward = spy
    try:
        reader.read(ids(DOCUMENT, 1), questions=[ids(QUESTION, 2)], repeat_ids=ids(REPEAT, 3))
    finally:
        del model.model.forward
    assert max(highest) < 100 + 200 < DOCUMENT
    assert {len(positions) for b in reader.cache.evicting for positions in b._positions} == {100}
