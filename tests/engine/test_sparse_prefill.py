"""lcdoc.engine.sparse_prefill: reading by blocks, from everything seen to what is chosen, at every width of storage."""

from functools import partial

import pytest
import torch
from lcdoc.kernels.block_sparse_prefill.naive import RUN_PAGES
from lcdoc.kernels.pages import Pages
from torch.utils._python_dispatch import TorchDispatchMode

from lcdoc.engine.budget import Limits, ladder
from lcdoc.engine.buffers import FullBuffer
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.model_shape import ModelShape
from lcdoc.engine.page_layout import PAGE_TOKENS, SINK_TOKENS
from lcdoc.engine.page_selection import PageSelection
from lcdoc.engine.paged_buffer import PagedBuffer
from lcdoc.engine.reader import Reader
from lcdoc.engine.sparse_prefill import SparsePrefill, SparseRate, sparse_bytes
from lcdoc.engine.sparse_rate import PAST_TOKENS, measure_sparse

LENGTH, CHUNK = 1100, 256
STORED = ("model", "bfloat16", "int8", "int4")
ALWAYS = dict.fromkeys(STORED, SparseRate(1, 1.0))


def reader_of(model, sparse, kv_dtype="model", **options):
    options = {"split": HeadSplit.exact(), "capacity_tokens": LENGTH + 50, **options}
    return Reader(model, **options, chunk_tokens=CHUNK, kv_dtype=kv_dtype, sparse=sparse)


def read(model, ids, sparse, kv_dtype="model"):
    reader = reader_of(model, sparse, kv_dtype)
    reader.read(ids)
    return reader.logits


@pytest.mark.parametrize("kv_dtype", STORED)
def test_everything_seen_is_dense(model_of, ids, kv_dtype):
    model, sparse = model_of("llama"), SparsePrefill(ALWAYS, coverage=1.0)
    dense = read(model, ids, None, kv_dtype)
    torch.testing.assert_close(read(model, ids, sparse, kv_dtype), dense, atol=1e-4, rtol=1e-4)
    assert sparse.density == 1.0


@pytest.mark.parametrize("kv_dtype", STORED)
def test_less_is_seen_and_counted(model_of, ids, kv_dtype):
    model, sparse = model_of("llama"), SparsePrefill(ALWAYS, coverage=0.5)
    logits = read(model, ids, sparse, kv_dtype)
    assert 0.1 < sparse.density < 0.95
    dense = read(model, ids, None, kv_dtype)
    assert not torch.equal(logits, dense)
    assert torch.cosine_similarity(logits, dense, dim=0) > 0.9


def test_the_density_is_of_what_was_attended_to(monkeypatch):
    """By hand: 4 of 13 pages, the sinks and what is in no page."""
    sparse, buffer = SparsePrefill(ALWAYS), filled(1024 + 10, "int8")
    keep = torch.zeros(4, 2, 13, dtype=torch.bool)
    keep[..., [1, 5, 11, 12]] = True
    monkeypatch.setattr(sparse, "choose", lambda *args: keep)
    assert buffer.num_pages == 13
    assert sparse.attend(torch.randn(1, 4, 200, 64), buffer, 0.125, None) is not None
    assert sparse.density == pytest.approx((1034 - 9 * PAGE_TOKENS) / 1034)


@pytest.mark.parametrize("kv_dtype", ["model", "int8"])
@pytest.mark.parametrize(
    "rate", [SparseRate(LENGTH, 1.0), SparseRate(1, 0.01), None], ids=["short", "dense", "unmeasured"]
)
def test_where_it_does_not_pay_nothing_changes(model_of, ids, rate, kv_dtype):
    """What pays for other widths is no reason."""
    rates = (
        {**ALWAYS, kv_dtype: rate} if rate else {name: ALWAYS[name] for name in STORED if name != kv_dtype}
    )
    model, sparse = model_of("llama"), SparsePrefill(rates, coverage=0.5)
    assert torch.equal(read(model, ids, sparse, kv_dtype), read(model, ids, None, kv_dtype))
    assert sparse.density == 1.0


def test_a_question_sees_everything(model_of, ids):
    model, sparse = model_of("llama"), SparsePrefill(ALWAYS, coverage=0.5)
    reader = reader_of(model, sparse)
    reader.read(ids[:1000])
    before = sparse.density
    reader.prefill(ids[1000:])
    assert sparse.density == before < 1


def test_with_streaming_heads_and_pages_chosen_for_the_answer(model_of, ids):
    """Everything seen in all of these is what rounding alone makes of streaming heads' reading."""
    model, split = model_of("llama"), HeadSplit((frozenset({1}),) * 6, 16, 64)
    answers = []
    for share, coverage in ((None, None), (1.0, 1.0), (0.1, 0.5)):
        selection = PageSelection(1, share, dense_layers=1) if share else None
        sparse = SparsePrefill(ALWAYS, coverage) if coverage else None
        reader = reader_of(model, sparse, "int8", split=split, selection=selection)
        reader.read(ids)
        tokens = reader.decode(lambda logits: int(logits.argmax()), (), 8)
        answers.append((list(tokens), reader.logits))
        kinds = {(group.kind, type(buffer).__name__) for group, buffer in reader.cache.groups()}
        assert kinds == {("retrieval", "PagedBuffer"), ("streaming", "SinkWindowBuffer")}
    (plain, logits), (same, close), _ = answers
    assert same == plain
    torch.testing.assert_close(close, logits, atol=1e-4, rtol=1e-4)
    assert sparse.density < 0.95 and selection.density < 0.95


def filled(num_tokens, kv_dtype, kv_heads=2, head_dim=64):
    generator = torch.Generator().manual_seed(0)
    keys, values = torch.randn(2, 1, kv_heads, num_tokens, head_dim, generator=generator)
    if kv_dtype == "model":
        buffer = FullBuffer(keys, values, num_tokens)
    else:
        buffer = PagedBuffer(keys, values, {"int8": 8, "int4": 4}[kv_dtype], num_tokens)
    buffer.append(keys, values)
    return buffer


class Largest(TorchDispatchMode):
    """Of all floating tensors that operations made, the numbers in the largest."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        for made in result if isinstance(result, tuple | list) else (result,):
            if isinstance(made, torch.Tensor) and made.is_floating_point() and made._base is None:
                self.count = max(self.count, made.numel())
        return result


@pytest.mark.parametrize("kv_dtype", ["int8", "int4"])
def test_no_more_than_a_run_of_one_head_is_ever_dequantised(kv_dtype):
    buffer = filled(16_384, kv_dtype)
    sparse, query = SparsePrefill(ALWAYS, coverage=1.0), torch.randn(1, 2, 128, 64)
    with Largest() as largest:
        assert sparse.attend(query, buffer, 0.125, None) is not None
    assert sparse.density == 1.0
    assert largest.count <= RUN_PAGES * PAGE_TOKENS * 64 < 16_384 * 64


def test_the_plan_counts_what_choosing_takes():
    shape = ModelShape(8, 2, 64, 512, 1024, 1000, (None,) * 4, 10**8, torch.bfloat16)
    sizes = {"capacity_tokens": 1 << 17, "chunk_tokens": 512, "base_bytes": 0}
    for kv_dtype in ("model", "int8", "int4"):
        dense, sparse = (
            next(ladder(shape, **sizes, limits=Limits(kv_dtype=kv_dtype, sparse=on))) for on in (False, True)
        )
        taken = sparse_bytes(8, 2, 64, chunk_tokens=512, capacity_tokens=1 << 17)
        assert sparse.sparse and sparse.workspace_bytes - dense.workspace_bytes == taken
        assert sparse.peak_bytes - dense.peak_bytes == taken
    # Shares of 8 heads' 4 blocks of queries in 2,045 pages alone are this many bytes.
    assert 8 * 4 * 2045 * 4 < taken < 50e6


def test_the_page_that_matters_is_chosen():
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(1, 6, 256, 64, generator=generator)
    keys = torch.randn(1, 2, 4096, 64, generator=generator) * 0.1
    # What the first two heads look for stands in one token, far from both ends.
    keys[0, 0, 2000] = 20
    query[0, :2] += 2
    pages = Pages.plain(keys[:, :, SINK_TOKENS:], PAGE_TOKENS)
    keep = SparsePrefill(ALWAYS).choose(query, keys[:, :, :SINK_TOKENS], pages, 64**-0.5)
    assert keep.shape == (6, 2, 63)
    assert keep[:2, :, (2000 - SINK_TOKENS) // PAGE_TOKENS].all() and keep[:2].sum() < 2 * 2 * 10
    assert keep[..., -2:].all()


def test_what_is_near_counts_first():
    """Where the first tokens hold all of the attention nothing else is chosen."""
    query, near = torch.ones(1, 2, 128, 64), torch.full((1, 1, 64, 64), 3.0)
    keep = SparsePrefill(ALWAYS).choose(
        query, near, Pages.plain(torch.zeros(1, 1, 640, 64), PAGE_TOKENS), 1.0
    )
    assert keep.sum(-1).unique().tolist() == [2]


@pytest.mark.parametrize("kv_dtype", ["model", "int8"])
def test_what_pays_is_measured(kv_dtype):
    query = torch.randn(1, 4, 256, 64)
    rate = measure_sparse(torch.device("cpu"), query, partial(filled, kv_dtype=kv_dtype), 0.125)
    assert rate.from_tokens >= PAST_TOKENS[-1] and 0 < rate.most_density <= 1


def test_rows_with_many_pages_see_one_of_few_numbers_of_them():
    """The last two pages and the best ones: as many as hold enough; from 8 on an even number, at most a tenth less."""
    shares = torch.rand(3, 5, 300, generator=torch.Generator().manual_seed(0)).softmax(-1)
    shares *= torch.linspace(0.9, 1, 15).view(3, 5, 1)
    counts = set()
    for coverage in (0.05, 0.1, 0.11, 0.12, 0.13, 0.15, 0.2, 0.4, 0.6, 0.9, 1.0):
        for kept, row in zip(
            SparsePrefill(ALWAYS, coverage).kept(shares).flatten(0, 1), shares.flatten(0, 1), strict=True
        ):
            count = int(kept.sum())
            counts.add(count)
            assert kept[-2:].all()
            assert kept[:-2].equal(
                row[:-2] >= row[:-2].topk(count - 2).values.min() if count > 2 else kept[:-2] * False
            )
            best = torch.cat((row[-2:], row[:-2].sort(descending=True).values))
            held = 1 - row.sum() + best.cumsum(0)
            enough = min(int((held < coverage - 1e-4).sum()) + 1, 300)
            assert count >= max(2, enough if enough <= 8 else enough / 1.1)
            assert coverage < 1 or kept.all()
    even = {8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 300}
    assert {2, 8, 12, 24, 48, 96, 256, 300} <= counts <= {*range(8), *even}
