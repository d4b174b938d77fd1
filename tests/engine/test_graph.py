"""Decoding by a step that can be captured, beside the usual one; on CUDA captured."""

import pytest
import torch

from lcdoc.engine.attention_trace import AttentionTrace
from lcdoc.engine.eviction import POLICIES, Eviction
from lcdoc.engine.graph import DecodeGraph
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.page_selection import PageSelection
from lcdoc.engine.reader import Reader
from lcdoc.engine.static_step import StaticStep

LENGTH, CHUNK, NEW = 300, 100, 30
CAPACITY = 384
STREAM = HeadSplit.stream(6, 2, 4, 60)
MIXED = HeadSplit((frozenset({1}), frozenset(), frozenset({0, 1})) * 2, 64, 64)
CASES = {
    "exact": (HeadSplit.exact(), "model"),
    "stream": (STREAM, "model"),
    "mixed": (MIXED, "model"),
    "mixed int4": (MIXED, "int4"),
}


def reader_of(model, case):
    split, kv_dtype = CASES[case]
    return Reader(model, split, capacity_tokens=CAPACITY, chunk_tokens=CHUNK, kv_dtype=kv_dtype)


@pytest.mark.parametrize("case", CASES)
@torch.inference_mode()
def test_a_static_step_computes_what_the_usual_one_does(model_of, ids, case):
    """Over tokens that fill a page and turn a ring round; where it may not be taken, the usual one is."""
    model = model_of("llama")
    usual, static = reader_of(model, case), reader_of(model, case)
    for reader in (usual, static):
        reader.prefill(ids)
        reader.cache.narrow()
    step, taken = StaticStep(model, static.cache), 0
    heads = [(layer, head) for layer in range(6) for head in range(2)]
    traces = {reader: AttentionTrace(heads, range(0, LENGTH + 1, 50)) for reader in (usual, static)}
    for token_id in torch.randint(97, (NEW,), generator=torch.Generator().manual_seed(2)).tolist():
        position = usual.seen_tokens
        usual.prefill([token_id], trace=traces[usual])
        if step.is_allowed():
            step.set(token_id, torch.tensor([static.seen_tokens]))
            step.forward()  # once more makes no difference
            static.logits = step.forward()
            step.advance()
            step.tell(traces[static])
            traces[static].end_query(position)
            taken += 1
        else:
            static.prefill([token_id], trace=traces[static])
        # Pages keep 8 bits of each token's fraction near it, of which both make the same use but in another order.
        torch.testing.assert_close(static.logits, usual.logits, atol=2e-3, rtol=2e-3)
        assert static.seen_tokens == usual.seen_tokens
        rows = [traces[reader].rows([position]) for reader in (usual, static)]
        assert len(rows[0]) == (case != "stream")
        torch.testing.assert_close(rows[1], rows[0], atol=2e-3, rtol=2e-3)
    assert taken >= NEW - 2
    assert static.cache.nbytes == usual.cache.nbytes


def test_what_no_kernel_can_read_is_decoded_the_usual_way(model_of, ids):
    model = model_of("llama")
    odd_ring = Reader(model, HeadSplit.stream(6, 2, 4, 61), capacity_tokens=CAPACITY, chunk_tokens=CHUNK)
    full = Reader(model, HeadSplit.exact(), capacity_tokens=LENGTH + 1, chunk_tokens=CHUNK)
    for reader in (odd_ring, full):
        assert not StaticStep(model, reader.cache).is_allowed()  # no buffers yet
        reader.prefill(ids)
        assert not StaticStep(model, reader.cache).is_allowed()


def test_pages_that_are_chosen_are_attended_to_the_usual_way(model_of, ids):
    selection = PageSelection(least_pages=1, dense_layers=0)
    reader = Reader(model_of("llama"), HeadSplit.exact(), capacity_tokens=CAPACITY, selection=selection)
    reader.prefill(ids)  # one page, which is attended to
    assert StaticStep(reader.model, reader.cache).is_allowed()
    reader.prefill(ids[:60])  # one of two
    assert not StaticStep(reader.model, reader.cache).is_allowed()


def test_the_processor_decodes_without_a_graph(model_of, ids):
    model = model_of("llama")
    reader = reader_of(model, "exact")
    reader.prefill(ids[:20])
    assert len(list(reader.decode(lambda logits: int(logits.argmax()), (), 20))) == 20
    assert reader.graph is None


def decoded_as_on_cuda(monkeypatch, reader, ids, capture):
    """A graph's place taken by what capture does, on the processor."""
    monkeypatch.setattr(DecodeGraph, "suits", lambda model, max_new_tokens: True)
    monkeypatch.setattr(DecodeGraph, "_capture", capture)
    reader.read(ids)
    return list(reader.decode(lambda logits: int(logits.argmax()), (), NEW))


def test_a_refused_capture_says_why_and_is_not_tried_again(model_of, ids, monkeypatch):
    model, tried = model_of("llama"), []

    def refuse(graph):
        tried.append(graph)
        raise RuntimeError("operation not permitted when stream is capturing\nCUDA kernel errors might ...")

    usual, reader = reader_of(model, "exact"), reader_of(model, "exact")
    usual.prefill(ids)
    expected = list(usual.decode(lambda logits: int(logits.argmax()), (), NEW))
    assert decoded_as_on_cuda(monkeypatch, reader, ids, refuse) == expected
    assert len(tried) == 1 and reader.graph.refusal == "operation not permitted when stream is capturing"
    assert reader.graph.why_usual == f"CUDA refused to capture it ({reader.graph.refusal})"


def test_what_no_graph_can_take_says_why(model_of, ids, monkeypatch):
    def never(graph):
        pytest.fail("captured")

    model, sizes = model_of("llama"), {"capacity_tokens": CAPACITY, "chunk_tokens": CHUNK}
    selection = PageSelection(least_pages=1, dense_layers=0)
    eviction = Eviction(POLICIES["recent"], keep_tokens=100, tail_tokens=2 * CHUNK)
    for reader, why in (
        (
            Reader(model, HeadSplit.stream(6, 2, 4, 61), **sizes),
            "65 tokens that streaming heads keep are no multiple",
        ),
        (Reader(model, HeadSplit.exact(), **sizes, selection=selection), "--page-selection off"),
        (Reader(model, HeadSplit.exact(), **sizes, eviction=eviction), "heads that drop tokens"),
    ):
        assert len(decoded_as_on_cuda(monkeypatch, reader, [*ids, *ids[:40]], never)) == NEW
        assert why in reader.graph.why_usual and reader.graph.refusal is None
    passing = Reader(model, HeadSplit.exact(), capacity_tokens=350, chunk_tokens=CHUNK)
    decoded_as_on_cuda(monkeypatch, passing, [*ids, *ids[:20]], never)
    assert passing.graph.why_usual is None, "the last tokens that there is room for"


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES)
def test_a_graph_decodes_as_eager_does(model_of, ids, case, monkeypatch):
    model = model_of("llama").cuda()
    answers = []
    for graphs in (False, True):
        reader = reader_of(model, case)
        reader.prefill(ids)
        mark = reader.mark()
        if not graphs:
            monkeypatch.setattr(DecodeGraph, "suits", lambda model, max_new_tokens: False)
        for _ in range(2):  # after a rewind the graph is replayed over what it wrote
            reader.rewind(mark)
            answers.append(list(reader.decode(lambda logits: int(logits.argmax()), (), NEW)))
        if not graphs:
            monkeypatch.undo()
    assert reader.graph is not None and reader.graph.refusal is None and reader.graph.is_captured
    assert answers[0] == answers[1] == answers[2] == answers[3]
