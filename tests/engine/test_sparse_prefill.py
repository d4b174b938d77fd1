"""lcdoc.engine.sparse_prefill: reading by blocks, from everything seen to what is chosen."""

import pytest
import torch

from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.reader import Reader
from lcdoc.engine.sparse_prefill import KEY_BLOCK_TOKENS, SparsePrefill, SparseRate
from lcdoc.engine.sparse_rate import PAST_TOKENS, measure_sparse

LENGTH, CHUNK = 1100, 256
ALWAYS = SparseRate(1, 1.0)


def read(model, ids, sparse, question=()):
    reader = Reader(model, HeadSplit.exact(), capacity_tokens=LENGTH + 50, chunk_tokens=CHUNK, sparse=sparse)
    reader.read(ids)
    if question:
        reader.prefill(question)
    return reader.logits


def test_everything_seen_is_dense(model_of, ids):
    model, sparse = model_of("llama"), SparsePrefill(SparseRate(1, 1.0), coverage=1.0)
    torch.testing.assert_close(read(model, ids, sparse), read(model, ids, None), atol=1e-4, rtol=1e-4)
    assert sparse.density == 1.0


def test_less_is_seen_and_counted(model_of, ids):
    model, sparse = model_of("llama"), SparsePrefill(ALWAYS, coverage=0.5)
    logits = read(model, ids, sparse)
    assert 0.1 < sparse.density < 0.95
    dense = read(model, ids, None)
    assert not torch.equal(logits, dense)
    assert torch.cosine_similarity(logits, dense, dim=0) > 0.9


@pytest.mark.parametrize("rate", [SparseRate(LENGTH, 1.0), SparseRate(1, 0.01)], ids=["short", "dense"])
def test_where_it_does_not_pay_nothing_changes(model_of, ids, rate):
    model, sparse = model_of("llama"), SparsePrefill(rate, coverage=0.5)
    assert torch.equal(read(model, ids, sparse), read(model, ids, None))
    assert sparse.density == 1.0


def test_a_question_sees_everything(model_of, ids):
    model, sparse = model_of("llama"), SparsePrefill(ALWAYS, coverage=0.5)
    reader = Reader(model, HeadSplit.exact(), capacity_tokens=LENGTH, chunk_tokens=CHUNK, sparse=sparse)
    reader.read(ids[:1000])
    before = sparse.density
    reader.prefill(ids[1000:])
    assert sparse.density == before < 1


def test_the_block_that_matters_is_chosen():
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(1, 6, 256, 64, generator=generator)
    keys = torch.randn(1, 2, 4096, 64, generator=generator) * 0.1
    # What the first two heads look for stands in one token, far from both ends.
    keys[0, 0, 2000] = 20
    query[0, :2] += 2
    keep = SparsePrefill(ALWAYS).choose(query, keys, 64**-0.5)
    assert keep.shape == (6, 2, 64)
    assert keep[:2, :, 2000 // KEY_BLOCK_TOKENS].all() and keep[:2].sum() < 2 * 2 * 10
    assert keep[..., 0].all() and keep[..., -4:].all()


def test_what_pays_is_measured():
    query = torch.randn(1, 4, 256, 64)
    keys, values = torch.randn(2, 1, 2, PAST_TOKENS[-1], 64)
    rate = measure_sparse(torch.device("cpu"), query, keys, values, 0.125)
    assert rate.from_tokens >= PAST_TOKENS[0] and 0 < rate.most_density <= 1
