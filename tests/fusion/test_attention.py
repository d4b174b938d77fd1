"""What questions attend to in a part, beside a softmax that is written out."""

import gc
import weakref

import pytest
import torch
from transformers import AutoModelForCausalLM

from lcdoc.engine.attention import register
from lcdoc.engine.attention_mass import AttentionMass
from lcdoc.engine.profiles import HeadProfile
from lcdoc.fusion import attention, part_reader
from lcdoc.fusion.heads import choose_heads
from lcdoc.fusion.part_reader import PartReader
from lcdoc.fusion.spans import cut_spans

HEAD, PART, BETWEEN = [3, 4, 5, 6], list(range(10, 150)), [7, 8, 9]
QUESTIONS = [[20, 21, 22], [30, 31, 32, 33, 34]]
HEADS = frozenset({(0, 1), (2, 0), (2, 1)})
GROUP_SIZE = 2


@pytest.fixture(scope="module")
def models(tiny):
    """The same weights with lcdoc's attention and with one that shows all it computes."""
    torch.manual_seed(0)
    return [
        AutoModelForCausalLM.from_pretrained(tiny, attn_implementation=name, dtype=torch.float32).eval()
        for name in (register(), "eager")
    ]


def naive(model, question):
    ids = torch.tensor([HEAD + PART + BETWEEN + question])
    with torch.inference_mode():
        layers = model(ids, output_attentions=True).attentions  # [1, heads, queries, keys] of each
    part = slice(len(HEAD), len(HEAD) + len(PART))
    seen = [
        layers[layer][0, GROUP_SIZE * head + idx, -len(question) :, part]
        for layer, head in HEADS
        for idx in range(GROUP_SIZE)
    ]
    return torch.cat(seen).mean(0)


@pytest.mark.parametrize("chunk_tokens", [4, 50, 1000])
def test_each_questions_attention_is_that_of_a_plain_softmax(models, chunk_tokens):
    ours, eager = models
    reader = PartReader(ours, HEADS, HEAD, BETWEEN, 300)
    heard = []
    part = reader.read(PART, chunk_tokens, lambda done, kv_bytes: heard.append((done, kv_bytes)))
    masses = [part.attention(question) for question in QUESTIONS]
    for mass, question in zip(masses, QUESTIONS, strict=True):
        assert torch.allclose(mass, naive(eager, question), atol=1e-6)
        assert 0 < float(mass.sum()) < 1
    assert [done for done, _ in heard] == sorted(done for done, _ in heard) and heard[-1][0] == len(PART)
    assert heard[-1][1] > 0


def test_scores_are_logits_capped_and_many_queries_are_taken_in_blocks():
    torch.manual_seed(0)
    queries, keys, cap, scale = torch.randn(1, 4, 70, 8) * 3, torch.randn(1, 2, 40, 8), 2.0, 0.5
    logits = torch.tanh(queries.unflatten(1, (2, 2)) @ keys.mT.unsqueeze(2) * scale / cap) * cap
    lse = logits.logsumexp(-1).flatten(1, 2)
    mass = AttentionMass({(5, 1)}, 10, 30)
    mass.observe(5, (0, 1), queries, keys, lse, scale, cap)
    mass.observe(4, (0, 1), queries, keys, lse, scale, cap)
    assert torch.allclose(mass.mean(), logits.softmax(-1)[0, 1, :, :, 10:30].mean((0, 1)), atol=1e-6)


def test_without_watched_heads_nothing_is_attended_to():
    assert AttentionMass((), 3, 7).mean().tolist() == [0.0] * 4


def test_one_parts_cache_is_gone_before_the_next_is_made(models, monkeypatch):
    made = []

    class Watched(part_reader.Reader):
        def __init__(self, *args, **kwargs):
            gc.collect()
            assert [one for one in made if one() is not None] == []
            super().__init__(*args, **kwargs)
            made.append(weakref.ref(self.cache))

    monkeypatch.setattr(part_reader, "Reader", Watched)
    reader = PartReader(models[0], HEADS, HEAD, BETWEEN, 300)
    for part in (PART, PART[:50], PART):
        reader.read(part, 64, lambda done, kv_bytes: None).attention(QUESTIONS[0])
    assert len(made) == 3


def test_spans_get_what_the_question_pays_beyond_a_null_question(tokens):
    spans = cut_spans(tokens, 100)[:3]
    sizes = [span.num_tokens for span in spans]
    mass = torch.cat([torch.full((size,), value) for size, value in zip(sizes, (0.1, 0.3, 0.2), strict=True)])
    null = torch.full((sum(sizes),), 0.2)
    wanted = [-0.1 * sizes[0], 0.1 * sizes[1], 0.0]
    assert attention.score(spans, mass, null) == pytest.approx(wanted, abs=1e-5)


def test_the_profiles_last_heads_are_watched_else_the_upper_layers():
    gates = tuple(tuple((layer + head) / 10 for head in range(2)) for layer in range(6))
    profile = HeadProfile("m", gates, 4, 16, "made up")
    assert choose_heads(profile, 2, [None] * 6) == frozenset(profile.order[-8:])
    assert choose_heads(profile, 2, [None] * 6, 2) == frozenset(profile.order[-2:])
    assert (5, 1) in choose_heads(profile, 2, [None] * 6)
    windows = [None, None, None, 16, None, None]
    assert choose_heads(None, 2, windows) == {(4, 0), (4, 1), (5, 0), (5, 1)}
    assert all(layer != 3 for layer, _ in choose_heads(profile, 2, windows))
