"""The attention that gates are trained in, against masked attention and the engine's own."""

import pytest
import torch
from lcdoc.kernels.attend import naive
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AutoModelForCausalLM

from lcdoc.calibrate.gated_attention import GatedAttention
from lcdoc.calibrate.landing import Landing, observe, rank_gates
from lcdoc.calibrate.passkeys import Example, Recall
from lcdoc.calibrate.whole_attention import attend_full, attend_stream
from lcdoc.engine.attention import register
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.reader import Reader

TOKENS = torch.randint(0, 1000, (120,), generator=torch.Generator().manual_seed(3)).tolist()


def tokens(length, heads=6):
    generator = torch.Generator().manual_seed(length)
    query = torch.randn(1, heads, length, 16, generator=generator)
    return query, *torch.randn(2, 1, 2, length, 16, generator=generator)


@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("sizes", [(0, 1), (0, 7), (3, 5), (4, 16), (64, 1), (10, 300)], ids=str)
@pytest.mark.parametrize("length", [1, 5, 23, 64, 333])
def test_streaming_equals_masked_attention(length, sizes, softcap):
    query, keys, values = tokens(length)
    sink_size, recent_size = sizes
    row, column = torch.arange(length)[:, None], torch.arange(length)
    visible = (column <= row) & ((column < sink_size) | (column > row - recent_size))
    keys3, values3 = keys.repeat_interleave(3, 1), values.repeat_interleave(3, 1)
    scores = query @ keys3.transpose(-1, -2) * 0.3
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    expected = torch.softmax(scores.masked_fill(~visible, -torch.inf), -1) @ values3
    found = attend_stream(query, keys, values, 0.3, softcap, sink_size, recent_size)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("softcap", [None, 5.0])
def test_full_attention_and_its_gradients_are_those_of_the_plain_one(softcap):
    query, keys, values = tokens(50)
    gradients = []
    for attend in (
        lambda *qkv: attend_full(*qkv, 0.3, softcap),
        lambda *qkv: naive.attend(*qkv, scale=0.3, causal=True, softcap=softcap)[0],
        lambda *qkv: attend_stream(*qkv, 0.3, softcap, 2, 60),
    ):
        inputs = [part.clone().requires_grad_() for part in (query, keys, values)]
        output = attend(*inputs)
        output.square().sum().backward()
        gradients.append([output.detach(), *(part.grad for part in inputs)])
    for found in (gradients[0], gradients[2]):
        for part, expected in zip(found, gradients[1], strict=True):
            torch.testing.assert_close(part, expected, atol=1e-4, rtol=1e-4)


@pytest.fixture
def load(tiny_model):
    def load(implementation):
        return AutoModelForCausalLM.from_pretrained(tiny_model, attn_implementation=implementation).eval()

    return load


def last_logits(model):
    with torch.inference_mode():
        return model(input_ids=torch.tensor([TOKENS]), use_cache=False).logits[0, -1]


@pytest.mark.parametrize("gate", [1.0, 0.0])
def test_gates_at_their_ends_are_stock_and_streaming(load, gate):
    attention = GatedAttention(torch.full((3, 2), gate), 4, 16)
    AttentionInterface.register("gates-at-ends", attention)
    found = last_logits(load("gates-at-ends"))
    if gate:
        expected = last_logits(load("sdpa"))
    else:
        split = HeadSplit.stream(3, 2, 4, 16)
        reader = Reader(load(register()), split, capacity_tokens=len(TOKENS), chunk_tokens=31)
        reader.prefill(TOKENS)
        expected = reader.logits
    torch.testing.assert_close(found, expected.view_as(found), atol=1e-4, rtol=1e-4)


def test_one_gate_moves_one_head_only(load):
    gates = torch.ones(3, 2)
    gates[1, 0] = 0.0
    AttentionInterface.register("one-gate", GatedAttention(gates, 4, 16))
    split = HeadSplit((frozenset(), frozenset({0}), frozenset()), 4, 16)
    reader = Reader(load(register()), split, capacity_tokens=len(TOKENS))
    reader.prefill(TOKENS)
    found = last_logits(load("one-gate"))
    torch.testing.assert_close(found, reader.logits.view_as(found), atol=1e-4, rtol=1e-4)
    assert (found - last_logits(load("sdpa"))).abs().max() > 1e-3


def test_landing_is_the_attention_on_the_passkey_beyond_the_window():
    length, planted, answered = 60, range(10, 20), range(50, 55)
    query, keys, values = tokens(length)
    landing = Landing(1, 2, sink_size=12, recent_size=35)
    landing.recalls = (Recall(planted, range(45, 55), answered),)
    output = landing.attend(0, query, keys, values, 0.3, None)
    expected = scaled_dot_product_attention(
        query, keys.repeat_interleave(3, 1), values.repeat_interleave(3, 1), is_causal=True, scale=0.3
    )
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
    scores = query[0] @ keys[0].repeat_interleave(3, 0).transpose(-1, -2) * 0.3
    weights = torch.softmax(scores.masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf), -1)
    per_head = [
        sum(float(weights[head, row, 12 : min(20, row - 35 + 1)].sum()) for row in answered) / len(answered)
        for head in range(6)
    ]
    assert landing.total[0].tolist() == pytest.approx([max(per_head[:3]), max(per_head[3:])], abs=1e-5)


def test_observing_leaves_the_mean_over_all_recalls(load):
    landing = Landing(3, 2, 4, 16)
    AttentionInterface.register("landing-test", landing)
    recalls = (Recall(range(20, 30), range(90, 110), range(100, 110)),) * 2
    observe(load("landing-test").base_model, landing, [Example(TOKENS, recalls)] * 2, torch.device("cpu"))
    once = Landing(3, 2, 4, 16)
    AttentionInterface.register("landing-test", once)
    observe(load("landing-test").base_model, once, [Example(TOKENS, recalls[:1])], torch.device("cpu"))
    torch.testing.assert_close(landing.mean, once.mean)
    assert landing.mean.min() > 0


def test_ranks_keep_the_order_and_fill_the_range():
    found = rank_gates(torch.tensor([[0.3, 0.1], [0.0, 0.9]]))
    torch.testing.assert_close(found, torch.tensor([[2 / 3, 1 / 3], [0.0, 1.0]]))
