"""Which spans' keys and values stay while the parts of a document are read."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from lcdoc.engine.attention import register
from lcdoc.engine.memory import AllocationFailed
from lcdoc.engine.rope import Rotation
from lcdoc.fusion.joint_tokens import ReadTokens
from lcdoc.fusion.kept_spans import KeptSpans
from lcdoc.fusion.part_reader import PartReader
from lcdoc.fusion.parts import cut_parts
from lcdoc.fusion.spans import cut_spans
from lcdoc.tokens import tokenize

HEAD, BETWEEN = [3, 4, 5, 6], [7, 8]


@pytest.fixture(scope="module")
def model(tiny):
    return AutoModelForCausalLM.from_pretrained(
        tiny, attn_implementation=register(), dtype=torch.float32
    ).eval()


@pytest.fixture(scope="module")
def parts(tokenizer, make_document):
    tokens = tokenize(tokenizer, [make_document(600, 600, 600)])
    return tokens, cut_parts(cut_spans(tokens, 40), 300)


def read(model, tokens, part):
    reader = PartReader(model, frozenset({(0, 0)}), HEAD, BETWEEN, 400)
    return reader.read(tokens.token_ids[part[0].start : part[-1].stop], 64, lambda done, kv_bytes: None)


def test_the_best_so_far_are_kept_and_others_make_room(model, parts):
    tokens, (first, second, *_) = parts
    spans = first + second
    words = [0.0] * len(spans)
    kept = KeptSpans(spans, words, 100, Rotation.of(model))  # two spans, with what stands between
    scores = [float(len(first) - idx) for idx in range(len(first))]
    one = read(model, tokens, first)
    kept.update(scores, one, 0)
    assert [span in kept for span in first] == [True, True] + [False] * (len(first) - 2)
    held = kept.joint(first[:1])
    # The last of the second part ranks above all, the others of it below.
    scores += [-1.0] * (len(second) - 1) + [99.0]
    kept.update(scores, read(model, tokens, second), second[0].start)
    assert [span in kept for span in spans] == [True] + [False] * (len(spans) - 2) + [True]
    assert held.tokens_left == len(HEAD) + first[0].num_tokens
    assert 0 < kept.nbytes <= ReadTokens.of(one.reader.cache, 0, 100).nbytes


def test_words_count_from_the_first_part_on(model, parts):
    tokens, (first, *_) = parts
    words = [0.0] * (len(first) - 1) + [5.0]
    kept = KeptSpans(first, words, 60, Rotation.of(model))
    kept.update([0.0] * len(first), read(model, tokens, first), 0)
    assert [span for span in first if span in kept] == [first[-1]]


def test_what_is_taken_is_what_the_part_left_in_the_order_of_the_text(model, parts):
    tokens, (first, *_) = parts
    part = read(model, tokens, first)
    kept = KeptSpans(first, [0.0] * len(first), 1000, Rotation.of(model))
    kept.update([1.0] * len(first), part, 0)
    joint = kept.joint([first[2], first[0], first[1]])
    taken = {}

    def take(checkpoint):
        taken.update(checkpoint.tensors.items())

    num_tokens = len(HEAD) + sum(span.num_tokens for span in first[:3])
    assert joint.load([0] * num_tokens, take) and joint.tokens_left == 0
    for name, tensor in part.reader.cache.gained(0).items():
        assert torch.equal(taken[name], tensor[:, :, :num_tokens]), name


def test_memory_that_is_refused_once_changes_nothing(model, parts, monkeypatch):
    tokens, (first, second, *_) = parts
    spans = first + second
    attention = [1.0] * len(first) + [9.0] * len(second)
    kept, wanted = (KeptSpans(spans, [0.0] * len(spans), 100, Rotation.of(model)) for _ in range(2))
    for one in (kept, wanted):
        one.update([1.0] * len(first), read(model, tokens, first), 0)
    part, of, refused = read(model, tokens, second), ReadTokens.of, []

    def refusing(*args):
        if not refused:
            refused.append(args)
            raise AllocationFailed("no memory")
        return of(*args)

    monkeypatch.setattr(ReadTokens, "of", refusing)
    with pytest.raises(AllocationFailed):
        kept.update(attention, part, second[0].start)
    for one in (kept, wanted):
        one.update(attention, part, second[0].start)
    assert [span in kept for span in spans] == [span in wanted for span in spans]
    assert kept.nbytes == wanted.nbytes > 0
