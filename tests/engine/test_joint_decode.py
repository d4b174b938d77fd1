"""Sequences that are decoded together: each gets the tokens and logits that it gets alone."""

import pytest
import torch

from lcdoc.engine.attention_trace import AttentionTrace
from lcdoc.engine.eviction import POLICIES, Eviction
from lcdoc.engine.extension import Extension
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.joint_decode import Step, read_together
from lcdoc.engine.page_selection import PageSelection
from lcdoc.engine.reader import Reader

LENGTH, CHUNK = 300, 64
LENGTHS, LIMITS, CAPACITY = (300, 41, 187), (30, 12, 21), 384
DUO = HeadSplit((frozenset({1}), frozenset(), frozenset({0, 1})) * 2, 4, 60)
CASES = {
    "exact": {},
    "duo": {"split": DUO},
    "int8": {"kv_dtype": "int8"},
    "duo-int4": {"split": DUO, "kv_dtype": "int4"},
    "evicting": {"eviction": Eviction(POLICIES["keydiff"], 100, 2 * CHUNK + 20)},
    "pages": {"selection": PageSelection(least_pages=1, dense_layers=1)},
    "self-extend": {"extend": "self-extend"},
}
KINDS = {"llama": {}, "gemma2": {"sliding_window": 32}, "qwen3_moe": {"moe_intermediate_size": 32}}


def greedy(logits):
    return int(logits.argmax())


def read(model, ids, way):
    """A reader of each length, its text read as a document."""
    way = dict(way)
    split, extend = way.pop("split", HeadSplit.exact()), way.pop("extend", None)
    if extend:
        way["extension"] = Extension.of(extend, model.config, 4 * model.config.max_position_embeddings)
    readers = []
    for length in LENGTHS:
        readers.append(Reader(model, split, capacity_tokens=CAPACITY, chunk_tokens=CHUNK, **way))
        readers[-1].read(ids[-length:])
    return readers


def traces():
    heads = [(layer, head) for layer in range(6) for head in range(2)]
    return [AttentionTrace(heads, range(0, length + 1, length // 4)) for length in LENGTHS]


def decode_together(readers, stop_ids, traces):
    """The tokens of each reader; those that end leave the others."""
    written = [[] for _ in readers]
    choosing = {
        row: reader.choose(greedy, stop_ids, limit)
        for row, (reader, limit) in enumerate(zip(readers, LIMITS, strict=True))
    }
    passes = 0
    while choosing:
        chosen = {row: next(tokens, None) for row, tokens in choosing.items()}
        for row, token_id in chosen.items():
            if token_id is None:
                del choosing[row]
            else:
                written[row].append(token_id)
        read_together([Step(readers[row], written[row][-1], traces[row]) for row in choosing])
        passes += 1
    assert passes == max(map(len, written)) + 1
    return written


@pytest.mark.parametrize(
    "kind,case", [*(("llama", case) for case in CASES), ("gemma2", "exact"), ("qwen3_moe", "duo")]
)
@torch.inference_mode()
def test_each_row_gets_what_it_gets_alone(model_of, ids, kind, case):
    model = model_of(kind, **KINDS[kind])
    alone, together = read(model, ids, CASES[case]), read(model, ids, CASES[case])
    first, second = traces(), traces()
    free = [list(reader.decode(greedy, (), 3)) for reader in read(model, ids, CASES[case])]
    stop_ids = {free[2][2]}  # the last row ends with its third token, where no other row says it before
    expected = [
        list(reader.decode(greedy, stop_ids, limit, trace))
        for reader, limit, trace in zip(alone, LIMITS, first, strict=True)
    ]
    assert len({len(tokens) for tokens in expected}) > 1
    assert decode_together(together, stop_ids, second) == expected
    for row, (one, other) in enumerate(zip(alone, together, strict=True)):
        assert one.seen_tokens == other.seen_tokens == LENGTHS[row] + len(expected[row])
        assert one.cache.nbytes == other.cache.nbytes
        torch.testing.assert_close(other.logits, one.logits, atol=1e-4, rtol=1e-4)
        written = range(LENGTHS[row], one.seen_tokens)
        torch.testing.assert_close(second[row].rows(written), first[row].rows(written), atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_positions_that_are_turned_otherwise_have_a_pass_of_their_own(model_of, ids):
    model = model_of("llama")
    ways = [None, None, *2 * [Extension.of("ntk", model.config, 8192)]]

    def readers():
        found = [Reader(model, HeadSplit.exact(), capacity_tokens=CAPACITY, extension=way) for way in ways]
        for number, reader in enumerate(found):
            reader.read(ids[number:])
        return found

    alone, together = readers(), readers()
    rows = []
    handle = model.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    for _ in range(3):
        for reader in alone:  # which takes turns with the two embeddings
            reader.step(greedy(reader.logits))
        rows.clear()
        read_together([Step(reader, greedy(reader.logits)) for reader in together])
        assert rows == [2, 2]
    handle.remove()
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(other.logits, one.logits, atol=1e-4, rtol=1e-4)
    assert len({id(reader.rotary) for reader in together}) == 2
