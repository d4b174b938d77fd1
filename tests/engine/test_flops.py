"""lcdoc.engine.flops and seconds: by hand, for a model small enough to count on paper."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from lcdoc.engine.budget import Limits, ladder
from lcdoc.engine.eviction import POLICIES
from lcdoc.engine.eviction.demand import Demand
from lcdoc.engine.flops import (
    chunk_pairs,
    past_pairs,
    past_tokens,
    prefill_flops,
    triangle,
    unpacked_values,
    window_pairs,
)
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.model_shape import ModelShape
from lcdoc.engine.rates import LinearRate, Rates
from lcdoc.engine.seconds import predict_seconds
from lcdoc.engine.sparse_prefill import SparseRate

# Two layers, the second with a window of its own; 4 query heads share 2 KV heads of 8 channels.
SHAPE = ModelShape(
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    hidden_size=32,
    intermediate_size=64,
    vocab_size=100,
    windows=(None, 3),
    weights_bytes=80_000,
    dtype=torch.float32,
)
RATES = Rates(
    linear=(LinearRate(4, 32, 1000.0), LinearRate(1024, 32, 9000.0)),
    causal_flops_per_s=64.0,
    dense_flops_per_s=128.0,
    unpacked_per_s={"bfloat16": 320.0, "int8": 160.0, "int4": 80.0},
    bytes_per_s=1000.0,
    attended_bytes_per_s=500.0,
    layer_step_s=0.5,
    fetched={},
    sparse={"model": SparseRate(1, 1.0)},
    pages_from_tokens=1,
)


def test_pairs_are_those_counted_one_by_one():
    def pairs(tokens, sees):
        return sum(sees(query, key) for query in range(tokens) for key in range(query + 1))

    for tokens in (1, 7, 8, 10, 23):
        assert triangle(tokens) == pairs(tokens, lambda query, key: True)
        assert chunk_pairs(tokens, 4) == pairs(tokens, lambda query, key: query // 4 == key // 4)
        # 2 sinks and a window of 5: never more than 7 keys for a query.
        assert window_pairs(tokens, 7) == pairs(tokens, lambda query, key: key < 2 or query - key < 5)
        assert past_tokens(tokens, 4) == sum(range(0, tokens, 4))


@pytest.mark.parametrize("keep_tokens", [3, 4, 6, 8, 100])
def test_evicted_tokens_are_not_paired(keep_tokens):
    for tokens in (1, 4, 9, 23):
        across = sum(min(query // 4 * 4, keep_tokens) for query in range(tokens))
        assert past_pairs(tokens, 4, keep_tokens) == across


def test_a_probe_is_one_more_pass_after_each_chunk():
    fixed = {"chunk_tokens": 4, "base_bytes": 0}
    demand = Demand(POLICIES["question"], 120, after_tokens=2, question_tokens=3, keep_tokens=60)
    asked = Demand(POLICIES["snapkv"], 120, after_tokens=2, question_tokens=3, keep_tokens=60)
    options = {"tokens": 120, "answer_tokens": 1, "layer_weights": 5000, "step_bytes": 0}
    question, snapkv = (
        predict_seconds(
            SHAPE,
            next(ladder(SHAPE, capacity_tokens=122, limits=Limits(demand=d), **fixed)),
            RATES,
            **options,
        )
        for d in (demand, asked)
    )
    # Thirty chunks, each followed by three tokens that pass two layers.
    assert question.prefill_s - snapkv.prefill_s == pytest.approx(30 * (2 * 5000 * 3 / 1000 + 2 * 0.5))


def test_offloaded_weights_are_fetched_for_every_chunk_and_every_token():
    rung = next(ladder(SHAPE, capacity_tokens=14, chunk_tokens=4, base_bytes=0, limits=Limits()))
    options = {"tokens": 10, "answer_tokens": 7, "layer_weights": 5000, "step_bytes": 30}
    resident, offloaded = (predict_seconds(SHAPE, rung, RATES, **options, fetch_s=s) for s in (0.0, 2.5))
    assert offloaded.prefill_s - resident.prefill_s == pytest.approx(3 * 2.5)
    assert offloaded.answer_s - resident.answer_s == pytest.approx(7 * 2.5)


def test_prefill_of_ten_tokens_by_hand():
    flops = prefill_flops(SHAPE, HeadSplit.exact(), tokens=10, chunk_tokens=4, layer_weights=5000)
    # Chunks of 4, 4 and 2: 10 + 10 + 3 pairs inside, 4 x 4 + 2 x 8 across; all 55. A pair costs 4 operations for
    # each of 4 heads' 8 channels. The window of 3 leaves 1 + 2 + 8 x 3 pairs.
    assert flops.linear == 2 * 5000 * 10
    assert flops.dense == 32 * (4 * 4 * 8)
    assert flops.causal == (23 + 27) * (4 * 4 * 8)


def test_streaming_heads_leave_the_square():
    split = HeadSplit((frozenset({0}), frozenset()), sink_size=1, recent_size=2)
    flops = prefill_flops(SHAPE, split, tokens=10, chunk_tokens=4, layer_weights=5000)
    half = 4 * 2 * 8  # one KV head's two query heads
    assert flops.dense == 32 * half
    assert flops.causal == (23 + 27) * half + 27 * 2 * half
    assert unpacked_values(SHAPE, split, 10) == 2 * 1 * 8 * 10


def test_a_million_tokens_of_llama_3_8b():
    shape = ModelShape(32, 8, 128, 4096, 14_336, 128_256, (None,) * 32, 0, torch.bfloat16)
    flops = prefill_flops(
        shape, HeadSplit.exact(), tokens=1_000_000, chunk_tokens=1000, layer_weights=6_979_321_856
    )
    assert flops.linear == 13_958_643_712_000_000
    assert flops.causal + flops.dense == 32 * 4 * 4096 * 1_000_000 * 1_000_001 // 2


def test_seconds_by_hand():
    rungs = list(
        ladder(SHAPE, capacity_tokens=12, chunk_tokens=4, base_bytes=0, limits=Limits(), profile=None)
    )
    exact, int8 = rungs[0], next(rung for rung in rungs if rung.kv_dtype == "int8")
    options = {"tokens": 10, "answer_tokens": 2, "layer_weights": 5000, "step_bytes": 32_800}
    seconds = predict_seconds(SHAPE, exact, RATES, **options)
    linear_s, causal_s, dense_s, steps_s = 100_000 / 1000, 50 * 128 / 64, 32 * 128 / 128, 3 * 2 * 0.5
    assert seconds.prefill_s == pytest.approx(linear_s + causal_s + dense_s + steps_s)
    token_s = 2 * 0.5 + 32_800 / 1000 + exact.kv_bytes / 500
    assert seconds.answer_s == pytest.approx(2 * token_s)
    rounded = predict_seconds(SHAPE, int8, RATES, **options)
    unpack_s = 2 * 2 * 8 / 160  # for each token held, of the first layer alone
    assert rounded.prefill_s == pytest.approx(seconds.prefill_s + (4 + 8) * unpack_s)
    saved_s = 2 * (exact.kv_bytes - int8.kv_bytes) / 500
    assert rounded.answer_s == pytest.approx(seconds.answer_s - saved_s + 2 * 10 * unpack_s)


def test_an_answer_by_pages_moves_what_it_attends_to():
    limits = Limits(select_pages=True)
    shape = replace(SHAPE, windows=(None,) * 4)
    [paged, *_] = ladder(shape, capacity_tokens=9000, chunk_tokens=512, base_bytes=0, limits=limits)
    [short, *_] = ladder(shape, capacity_tokens=2000, chunk_tokens=512, base_bytes=0, limits=limits)
    assert paged.selects_pages and not short.selects_pages and not short.loss
    options = {"tokens": 8192, "answer_tokens": 1, "layer_weights": 5000, "step_bytes": 0}
    steps_s = 4 * 0.5
    attended = (64 + 128 + 48 * 64) / 8192
    seconds = predict_seconds(shape, paged, RATES, **options)
    assert seconds.answer_s == pytest.approx(steps_s + paged.kv_bytes * attended / 500)


def test_longer_takes_longer():
    [exact, *_] = ladder(SHAPE, capacity_tokens=9000, chunk_tokens=512, base_bytes=0, limits=Limits())
    options = {"answer_tokens": 1, "layer_weights": 5000, "step_bytes": 1}
    times = [
        predict_seconds(SHAPE, exact, RATES, tokens=tokens, **options).prefill_s
        for tokens in (1, 100, 1000, 2000, 4000, 8000)
    ]
    assert all(later > 1.9 * earlier for earlier, later in pairwise(times[2:]))
    assert times == sorted(times)


def test_the_nearest_size_decides_the_linear_rate():
    assert RATES.linear_flops_per_s(1, 32) == RATES.linear_flops_per_s(63, 5000) == 1000
    assert RATES.linear_flops_per_s(65, 32) == RATES.linear_flops_per_s(4096, 5) == 9000
