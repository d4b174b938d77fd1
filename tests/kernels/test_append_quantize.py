"""lcdoc.kernels.append_quantize: the very codes, scales and bounds of PyTorch's version."""

import pytest
import torch
from lcdoc.kernels.append_quantize import BOUND_TOKENS, append_quantize, naive

from lcdoc.engine.page_layout import PAGE_TOKENS
from lcdoc.engine.quantize import KEYS_AXIS, VALUES_AXIS, PageStore

from .conftest import DEVICE

# Bits, what is quantised, pages, KV heads, head_dim.
CASES = [
    (8, KEYS_AXIS, 1, 1, 64),
    (8, VALUES_AXIS, 3, 2, 96),
    (8, KEYS_AXIS, 2, 1, 256),
    (4, KEYS_AXIS, 3, 2, 96),
    (4, VALUES_AXIS, 2, 3, 128),
    (4, VALUES_AXIS, 1, 1, 256),
    (4, KEYS_AXIS, 0, 2, 64),
]
IDS = "bits{0[0]}-axis{0[1]}-pages{0[2]}-KV{0[3]}-D{0[4]}".format


def blank(tokens, bits, axis, num_pages):
    """Pages, and bounds, of zeros: what is not written shows."""
    pages = PageStore(tokens, axis, bits, num_pages).view(0, num_pages)
    for tensor in pages[:3]:
        tensor.zero_()
    runs = (1, tokens.shape[1], num_pages, PAGE_TOKENS // BOUND_TOKENS, tokens.shape[-1])
    return pages, tuple(torch.zeros(runs, dtype=tokens.dtype, device=DEVICE) for _ in range(2))


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_codes_scales_and_bounds_are_those_of_pytorch(fused, made, case):
    bits, axis, num_pages, kv_heads, head_dim = case
    tokens = made(1, kv_heads, num_pages * PAGE_TOKENS, head_dim)
    tokens[..., 3] += 9.0
    tokens[..., 4] = 1.5  # nothing to scale
    (found, found_bounds), (truth, truth_bounds) = (blank(tokens, bits, axis, num_pages) for _ in range(2))
    fused("append_quantize").append_quantize(tokens, found, found_bounds)
    naive.append_quantize(tokens, truth, truth_bounds)
    for own, expected in zip((*found[1:3], *found_bounds), (*truth[1:3], *truth_bounds), strict=True):
        torch.testing.assert_close(own, expected, rtol=0, atol=0)
    if DEVICE == "cpu":
        assert torch.equal(found.codes, truth.codes)
    else:  # there PyTorch multiplies by a reciprocal: what falls on .5 may go the other way
        steps = (found.numbers(torch.float32) - truth.numbers(torch.float32)).abs() / truth.scales.clamp(1e-6)
        assert steps.max() < 1.5 and (steps > 0.5).float().mean() < 1e-3


@pytest.mark.parametrize("bits", [16, 8, 4])
def test_a_store_is_written_where_it_should_be(made, bits):
    tokens = made(1, 2, 3 * PAGE_TOKENS, 64)
    store = PageStore(tokens, KEYS_AXIS, bits, 4)
    for tensor in store.view(0, 4)[:3]:
        tensor.zero_()
    store.write(1, tokens[:, :, PAGE_TOKENS:])
    alone = PageStore(tokens, KEYS_AXIS, bits, 2)
    append_quantize(tokens[:, :, PAGE_TOKENS:], alone.view(0, 2))
    assert torch.equal(store.read(1, 3, torch.float32), alone.read(0, 2, torch.float32))
    for page in (0, 3):
        assert not store.read(page, page + 1, torch.float32).any()
