"""Pages of 16, 8 and 4 bits: error, exact size, rewinding, and no full-size copy while attending."""

import pytest
import torch

from lcdoc.engine.attention import attend_buffer
from lcdoc.engine.paged_buffer import BLOCK_PAGES, RECENT_TOKENS, SINK_TOKENS, PagedBuffer
from lcdoc.engine.quantize import KEYS_AXIS, PAGE_TOKENS, VALUES_AXIS, PageStore

HEADS, HEAD_DIM = 2, 64


def tokens(length, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(1, 3 * HEADS, length, HEAD_DIM, generator=generator)
    keys = torch.randn(1, HEADS, length, HEAD_DIM, generator=generator)
    keys[..., 5] += 8.0  # an outlier channel, as real keys have
    values = torch.randn(1, HEADS, length, HEAD_DIM, generator=generator)
    return query.to(dtype), keys.to(dtype), values.to(dtype)


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("axis", [KEYS_AXIS, VALUES_AXIS], ids=["keys", "values"])
def test_an_integer_is_off_by_at_most_half_a_step(bits, axis):
    _, keys, _ = tokens(3 * PAGE_TOKENS)
    store = PageStore(keys, axis, bits, 3)
    store.write(0, keys[:, :, : 2 * PAGE_TOKENS])
    store.write(2, keys[:, :, 2 * PAGE_TOKENS :])
    pages = keys.unflatten(2, (3, PAGE_TOKENS))
    step = (pages.amax(axis, keepdim=True) - pages.amin(axis, keepdim=True)) / (2**bits - 1)
    error = (store.read(0, 3, torch.float32).unflatten(2, (3, PAGE_TOKENS)) - pages).abs()
    # Half a step, and what float16 loses of the scale (over all steps) and of the least value.
    float16_loss = 2.0**-11 * (step * (2**bits - 1) + pages.amin(axis, keepdim=True).abs())
    assert (error <= 0.5 * step + float16_loss + 1e-6).all()
    assert error.max() > 0


@pytest.mark.parametrize("bits", [16, 8, 4])
def test_a_constant_page_is_kept(bits):
    keys = torch.full((1, HEADS, PAGE_TOKENS, HEAD_DIM), 1.5)
    store = PageStore(keys, KEYS_AXIS, bits, 1)
    store.write(0, keys)
    assert torch.equal(store.read(0, 1, torch.float32), keys)


@pytest.mark.parametrize("bits,per_element", [(16, 2.0), (8, 1.0625), (4, 0.5625)])
def test_size_is_that_of_the_bytes_held(bits, per_element):
    length = SINK_TOKENS + 10 * PAGE_TOKENS + RECENT_TOKENS + 17
    query, keys, values = tokens(length)
    buffer = PagedBuffer(keys, values, bits, length)
    attend_buffer(query, keys, values, buffer, 0.125)
    near_bytes = (SINK_TOKENS + RECENT_TOKENS + 17) * 2 * 2
    assert buffer.nbytes == HEADS * HEAD_DIM * (near_bytes + 10 * PAGE_TOKENS * 2 * per_element)


@pytest.mark.parametrize("bits,allowed", [(16, 2e-2), (8, 2e-2), (4, 0.2)])
@pytest.mark.parametrize("chunk", [1, 63, 257, 3000], ids=str)
def test_attention_stays_near_exact_however_the_text_is_chunked(bits, allowed, chunk):
    length = 700 if chunk == 1 else 2 * BLOCK_PAGES * PAGE_TOKENS + 111
    query, keys, values = tokens(length)
    buffer = PagedBuffer(keys, values, bits, length)
    outputs = []
    for start in range(0, length, chunk):
        part = (tensor[:, :, start : start + chunk] for tensor in (query, keys, values))
        outputs.append(attend_buffer(*part, buffer, 0.125)[0])
    expected = torch.nn.functional.scaled_dot_product_attention(
        query, keys.repeat_interleave(3, 1), values.repeat_interleave(3, 1), is_causal=True, scale=0.125
    )
    assert buffer.seen_tokens == length
    assert (torch.cat(outputs, 2) - expected).abs().max() < allowed
    held_keys = torch.cat([keys for keys, _ in buffer.parts()], 2)
    assert held_keys.shape[2] == length


def test_no_part_is_larger_than_a_block_and_all_tokens_are_there_once():
    length = SINK_TOKENS + RECENT_TOKENS + 40 * PAGE_TOKENS + 5
    _, keys, values = tokens(length)
    buffer = PagedBuffer(keys, values, 16, length)
    buffer.append(keys, values)
    parts = [part_keys for part_keys, _ in buffer.parts()]
    assert max(part.shape[2] for part in parts) == BLOCK_PAGES * PAGE_TOKENS
    held = torch.cat(parts, dim=2)[0, 0, :, 0].sort().values
    assert torch.equal(held, keys[0, 0, :, 0].to(torch.bfloat16).float().sort().values)


@pytest.mark.parametrize("bits", [16, 8, 4])
def test_rewinding_restores_pages_and_tail(bits):
    query, keys, values = tokens(1500)
    straight, rewound = (PagedBuffer(keys, values, bits, 1500) for _ in range(2))
    for buffer in (straight, rewound):
        buffer.append(keys[:, :, :800], values[:, :, :800])
    mark = rewound.mark()
    rewound.append(values[:, :, :700], keys[:, :, :700])
    rewound.rewind(mark)
    for buffer in (straight, rewound):
        buffer.append(keys[:, :, 800:1400], values[:, :, 800:1400])
    assert rewound.nbytes == straight.nbytes
    last = query[:, :, 1400:], keys[:, :, 1400:], values[:, :, 1400:]
    pair = [attend_buffer(*last, buffer, 0.125)[0] for buffer in (straight, rewound)]
    assert torch.equal(*pair)
