"""lcdoc.kernels.block_score and block_sparse_prefill: Triton and PyTorch over pages of all widths, against float64."""

import pytest
import torch
from lcdoc.kernels.block_score import block_score as pick_score
from lcdoc.kernels.block_score import naive as score_naive
from lcdoc.kernels.block_score import products as score_products
from lcdoc.kernels.block_sparse_prefill import naive
from lcdoc.kernels.pages import Pages

from lcdoc.engine.page_layout import PAGE_TOKENS
from lcdoc.engine.quantize import KEYS_AXIS, VALUES_AXIS, PageStore

from .conftest import DEVICE, assert_close_as_pytorch

# Bits, queries, pages, KV heads, group, head_dim.
CASES = [
    (16, 1, 1, 1, 1, 64),
    (16, 63, 3, 2, 3, 96),
    (16, 33, 2, 1, 7, 128),
    (8, 111, 2, 1, 4, 128),
    (8, 1, 5, 1, 8, 64),
    (8, 63, 1, 1, 1, 256),
    (4, 33, 3, 2, 3, 64),
    (4, 111, 2, 1, 7, 96),
    (4, 5, 1, 1, 8, 256),
]
IDS = "bits{0[0]}-Q{0[1]}-P{0[2]}-KV{0[3]}-G{0[4]}-D{0[5]}".format
QUERY_BLOCK = 32


def stored(made, case):
    """A query, and keys and values in pages, of which some channels and tokens stand out as real ones do."""
    bits, num_queries, num_pages, kv_heads, group, head_dim = case
    query = made(1, kv_heads * group, num_queries, head_dim)
    keys = made(1, kv_heads, num_pages * PAGE_TOKENS, head_dim, seed=1)
    values = made(1, kv_heads, num_pages * PAGE_TOKENS, head_dim, seed=2)
    keys[..., 5] += 8.0
    values[:, :, ::7] *= 20.0
    if bits == 16:
        return query, Pages.plain(keys, PAGE_TOKENS), Pages.plain(values, PAGE_TOKENS)
    pages = []
    for tensor, axis in ((keys, KEYS_AXIS), (values, VALUES_AXIS)):
        store = PageStore(tensor, axis, bits, num_pages)
        store.write(0, tensor)
        pages.append(store.view(0, num_pages))
    return query, *pages


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_attention_over_chosen_pages(fused, made, monkeypatch, case):
    monkeypatch.setattr(naive, "RUN_PAGES", 2)
    query, keys, values = stored(made, case)
    num_queries, num_pages = query.shape[2], case[2]
    generator = torch.Generator().manual_seed(3)
    keep = torch.rand(query.shape[1], -(-num_queries // QUERY_BLOCK), num_pages, generator=generator) < 0.5
    keep[..., -1] = True
    keep = keep.to(DEVICE)
    rows, columns = (
        torch.arange(num_queries) // QUERY_BLOCK,
        torch.arange(num_pages * PAGE_TOKENS) // PAGE_TOKENS,
    )
    mask = keep[:, rows][:, :, columns]
    whole = [pages.numbers(torch.float64).flatten(2, 3) for pages in (keys, values)]
    for attend_blocks in (fused("block_sparse_prefill").attend_blocks, naive.attend_blocks):
        found = attend_blocks(query, keys, values, keep, query_block=QUERY_BLOCK, scale=0.125)
        assert found[0].dtype == query.dtype
        assert_close_as_pytorch(found, (query, *whole), mask, 0.125)


@pytest.mark.parametrize("bits", [16, 8])
def test_a_block_that_keeps_nothing_sees_nothing(fused, made, bits):
    query, keys, values = stored(made, (bits, 64, 3, 1, 2, 64))
    keep = torch.ones(2, 2, 3, dtype=torch.bool, device=DEVICE)
    keep[1, 0] = False
    for attend_blocks in (fused("block_sparse_prefill").attend_blocks, naive.attend_blocks):
        output, lse = attend_blocks(query, keys, values, keep, query_block=32, scale=0.125)
        assert torch.equal(output[0, 1, :32], torch.zeros_like(output[0, 1, :32]))
        assert torch.equal(lse[0, 1, :32], torch.full_like(lse[0, 1, :32], float("-inf")))
        assert output[0, 1, 32:].abs().min() > 0 and output[0, 0].isfinite().all()


def test_only_chosen_pages_are_read(fused, made):
    """What lies in the others, numbers that are none too, does not matter; nor are they dequantised."""
    query, keys, values = stored(made, (8, 40, 4, 1, 2, 64))
    keep = torch.zeros(2, 2, 4, dtype=torch.bool, device=DEVICE)
    keep[..., 1] = keep[0, 0, 3] = True
    for attend_blocks in (fused("block_sparse_prefill").attend_blocks, naive.attend_blocks):
        clean = attend_blocks(query, keys, values, keep, query_block=32, scale=0.125)
        spoilt = [
            pages._replace(
                scales=pages.scales.index_fill(2, torch.tensor([0, 2], device=DEVICE), float("nan"))
            )
            for pages in (keys, values)
        ]
        found = attend_blocks(query, *spoilt, keep, query_block=32, scale=0.125)
        assert all(torch.equal(part, expected) for part, expected in zip(found, clean, strict=True))


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_scores_of_pages(fused, made, monkeypatch, case):
    monkeypatch.setattr(score_naive, "RUN_PAGES", 2)
    query, keys, _ = stored(made, case)
    near_tokens = 0 if case[2] == 2 else 70
    near = made(1, case[3], near_tokens, case[5], seed=4)
    sizes = {"query_block": QUERY_BLOCK, "stride": 8, "scale": 0.125}
    whole = torch.cat((near.double(), keys.numbers(torch.float64).flatten(2, 3)), dim=2)
    weights = torch.softmax(query.double() @ whole.repeat_interleave(case[4], 1).mT * 0.125, -1)
    pages = weights[0, ..., near_tokens:].unflatten(-1, (-1, PAGE_TOKENS)).sum(-1)
    first = torch.arange(0, case[1], QUERY_BLOCK)[:, None]
    rows = (first + torch.arange(4, QUERY_BLOCK, 8)).clamp(max=case[1] - 1)  # the middle of each stride
    truth, tolerance = pages[:, rows].mean(2), 2 * torch.finfo(query.dtype).eps
    for block_score in (fused("block_score").block_score, score_naive.block_score):
        found = block_score(query, near, keys, **sizes)
        # Scores come to about 20, and are as far off as their rounding.
        torch.testing.assert_close(found.double(), truth, atol=tolerance, rtol=20 * tolerance)


@pytest.mark.skipif(not score_products.supports(torch.empty(1, dtype=torch.bfloat16)), reason="no such CPU")
@pytest.mark.parametrize("near_tokens", [0, 1, 70])
@pytest.mark.parametrize("case", [case for case in CASES if case[0] != 4], ids=IDS)
def test_scores_of_pages_in_bfloat16_on_a_cpu(made, monkeypatch, case, near_tokens):
    monkeypatch.setattr(score_products, "RUN_PAGES", 2)
    query, keys, _ = stored(lambda *shape, **options: made(*shape, **options).cpu(), case)
    query, near = query.bfloat16(), made(1, case[3], near_tokens, case[5], seed=4).cpu().bfloat16()
    if keys.holds(torch.float16):
        keys = keys._replace(codes=keys.codes.bfloat16())
    sizes = {"query_block": QUERY_BLOCK, "stride": 8, "scale": 0.125}
    truth = score_naive.block_score(query, near, keys, **sizes)  # in float32
    whole = torch.cat((near, keys.numbers(torch.bfloat16).flatten(2, 3)), dim=2)
    weights = torch.softmax(query @ whole.repeat_interleave(case[4], 1).mT * 0.125, -1, dtype=torch.float32)
    pages = weights[0, ..., near_tokens:].unflatten(-1, (-1, PAGE_TOKENS)).sum(-1)
    rows = torch.arange(0, case[1], QUERY_BLOCK)[:, None] + torch.arange(4, QUERY_BLOCK, 8)
    theirs = pages[:, rows.clamp(max=case[1] - 1)].mean(2)
    found = pick_score(query, near, keys, **sizes)
    assert torch.equal(found, score_products.block_score(query, near, keys, **sizes))
    assert (found - truth).norm() <= 2 * (theirs - truth).norm()
