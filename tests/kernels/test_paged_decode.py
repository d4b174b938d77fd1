"""lcdoc.kernels.paged_decode over lcdoc's own pages: the kernel, PyTorch's version, and where the engine uses it."""

import pytest
import torch
from lcdoc.kernels import paged_decode as operation
from lcdoc.kernels.paged_decode import naive

from lcdoc.engine import attention
from lcdoc.engine.attention import attend_buffer
from lcdoc.engine.page_layout import PAGE_TOKENS
from lcdoc.engine.paged_buffer import PagedBuffer
from lcdoc.engine.quantize import KEYS_AXIS, VALUES_AXIS, PageStore

from .conftest import DEVICE, assert_close_as_pytorch

# Bits, tokens, KV heads, group, head_dim, pages chosen from.
CASES = [
    (16, 1, 2, 1, 64, None),
    (16, 111, 1, 4, 128, None),
    (16, 640, 1, 7, 96, 12),
    (8, 63, 1, 3, 96, None),
    (8, 64, 1, 8, 256, None),
    (8, 400, 2, 4, 64, 9),
    (4, 111, 1, 7, 128, None),
    (4, 704, 1, 1, 64, None),
    (4, 1, 1, 8, 256, 3),
]
IDS = "bits{0[0]}-T{0[1]}-KV{0[2]}-G{0[3]}-D{0[4]}-of{0[5]}".format


def stored(made, case):
    """A query, and keys and values in pages, of which some channels and tokens stand out as real ones do."""
    bits, num_tokens, kv_heads, group, head_dim, choice = case
    num_pages = choice or -(-num_tokens // PAGE_TOKENS)
    query = made(1, kv_heads * group, 1, head_dim)
    keys = made(1, kv_heads, num_pages * PAGE_TOKENS, head_dim, seed=1)
    values = made(1, kv_heads, num_pages * PAGE_TOKENS, head_dim, seed=2)
    keys[..., 5] += 8.0
    values[:, :, ::7] *= 20.0
    pages = []
    for tensor, axis in ((keys, KEYS_AXIS), (values, VALUES_AXIS)):
        store = PageStore(tensor, axis, bits, num_pages)
        store.write(0, tensor)
        pages.append(store.view(0, num_pages))
    return query, *pages


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_one_query_over_pages(fused, made, case):
    bits, tokens, kv_heads, group, head_dim, choice = case
    query, keys, values = stored(made, case)
    num_listed = -(-tokens // PAGE_TOKENS)
    lists = torch.arange(num_listed, device=DEVICE).expand(kv_heads, -1)
    if choice:  # each head its own, in any order
        generator = torch.Generator().manual_seed(3)
        order = [torch.randperm(choice, generator=generator)[:num_listed] for _ in range(kv_heads)]
        lists = torch.stack(order).to(DEVICE)
    page_lists = lists.to(torch.int32) if choice else None
    num_tokens = torch.full((kv_heads,), tokens, dtype=torch.int32, device=DEVICE)
    mask = torch.ones(1, tokens, dtype=torch.bool, device=DEVICE)
    heads = torch.arange(kv_heads, device=DEVICE)[:, None]
    for attend in (fused("paged_decode").paged_decode, naive.paged_decode):
        found = attend(query, keys, values, num_tokens, scale=0.125, page_lists=page_lists)
        assert found[0].dtype == query.dtype and found[0].shape == query.shape
        held = (
            pages.numbers(torch.float64)[0][heads, lists].flatten(1, 2)[None, :, :tokens]
            for pages in (keys, values)
        )
        assert_close_as_pytorch(found, (query, *held), mask, 0.125)


def test_heads_may_see_different_numbers_of_tokens_and_none(fused, made):
    query, keys, values = stored(made, (8, 200, 3, 2, 64, None))
    values.codes[:, :, 3, 30:] = 255  # not in use
    num_tokens = torch.tensor([0, 70, 200], dtype=torch.int32, device=DEVICE)
    for attend in (fused("paged_decode").paged_decode, naive.paged_decode):
        output, lse = attend(query, keys, values, num_tokens, scale=0.125)
        assert torch.equal(output[0, :2], torch.zeros_like(output[0, :2]))
        assert torch.equal(lse[0, :2], torch.full_like(lse[0, :2], float("-inf")))
        for head, tokens in ((1, 70), (2, 200)):
            alone = [
                pages._replace(
                    codes=pages.codes[:, [head]], scales=pages.scales[:, [head]], least=pages.least[:, [head]]
                )
                for pages in (keys, values)
            ]
            count = torch.tensor([tokens], dtype=torch.int32, device=DEVICE)
            expected = attend(query[:, 2 * head : 2 * head + 2], *alone, count, scale=0.125)
            torch.testing.assert_close(output[:, 2 * head : 2 * head + 2], expected[0])
            torch.testing.assert_close(lse[:, 2 * head : 2 * head + 2], expected[1])


def test_what_is_not_in_use_does_not_matter(fused, made):
    """Pages are allocated empty: whatever lies there, a number that is none too."""
    query, keys, values = stored(made, (16, 128, 1, 2, 64, None))
    num_tokens = torch.tensor([70], dtype=torch.int32, device=DEVICE)
    for attend in (fused("paged_decode").paged_decode, naive.paged_decode):
        clean = attend(query, keys, values, num_tokens, scale=0.125)
        for pages in (keys, values):
            pages.codes[:, :, 1, 6:] = float("nan")
        for part, expected in zip(attend(query, keys, values, num_tokens, scale=0.125), clean, strict=True):
            torch.testing.assert_close(part, expected, rtol=0, atol=0)
        query, keys, values = stored(made, (16, 128, 1, 2, 64, None))


@pytest.mark.parametrize("bits", [8, 4])
def test_the_engine_decodes_over_pages_as_over_dequantised_blocks(fused, made, monkeypatch, bits):
    length = 1000
    tensors = (made(1, 4, length, 64), made(1, 2, length, 64, seed=1), made(1, 2, length, 64, seed=2))
    outputs = []
    for kernel in (None, naive.paged_decode, fused("paged_decode").paged_decode):
        monkeypatch.setattr(attention, "supports", lambda query, *rest, k=kernel: k and query.shape[2] == 1)
        monkeypatch.setattr(attention, "paged_decode", kernel)
        buffer = PagedBuffer(*tensors[1:], bits, length)
        attend_buffer(*(tensor[:, :, :-1] for tensor in tensors), buffer, 0.125)
        outputs.append(attend_buffer(*(tensor[:, :, -1:] for tensor in tensors), buffer, 0.125))
        assert buffer.seen_tokens == length
    for output, lse in outputs[1:]:
        tolerance = 2 * torch.finfo(tensors[0].dtype).eps
        torch.testing.assert_close(output, outputs[0][0], atol=tolerance, rtol=tolerance)
        torch.testing.assert_close(lse, outputs[0][1], atol=1e-3, rtol=1e-4)


def test_the_processor_has_no_kernel(made):
    query, keys, values = stored(made, (8, 64, 1, 2, 64, None))
    assert operation.supports(query, keys, values, None) == (DEVICE == "cuda")
    assert not operation.supports(query, keys, values, 30.0)
