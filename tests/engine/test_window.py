"""A streaming group's attention and storage against plainly masked attention."""

import pytest
import torch

from lcdoc.engine.attention import attend_buffer
from lcdoc.engine.buffers import FullBuffer, SinkWindowBuffer

SIZES = [(0, 1), (0, 2), (0, 7), (3, 5), (4, 16), (64, 1), (10, 300)]


def tokens(length, seed=0):
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(1, 6, length, 16, generator=generator)
    keys = torch.randn(1, 2, length, 16, generator=generator)
    return query, keys, torch.randn(1, 2, length, 16, generator=generator)


@pytest.mark.parametrize("sink_size,recent_size", SIZES, ids=lambda n: str(n))
@pytest.mark.parametrize("length", [1, 5, 23, 64, 700])
@pytest.mark.parametrize("chunk", [1, 3, 17, 64, 1024])
def test_chunked_window_attention_equals_masked_attention(sink_size, recent_size, length, chunk):
    query, keys, values = tokens(length)
    buffer = SinkWindowBuffer(keys, values, sink_size, recent_size)
    outputs = []
    for start in range(0, length, chunk):
        span = slice(start, start + chunk)
        part = query[:, :, span], keys[:, :, span], values[:, :, span]
        outputs.append(attend_buffer(*part, buffer, 0.25)[0])
    row, column = torch.arange(length)[:, None], torch.arange(length)
    visible = (column <= row) & ((column < sink_size) | (column > row - recent_size))
    expected = torch.nn.functional.scaled_dot_product_attention(
        query, keys.repeat_interleave(3, 1), values.repeat_interleave(3, 1), attn_mask=visible, scale=0.25
    )
    torch.testing.assert_close(torch.cat(outputs, 2), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("sink_size,recent_size", SIZES, ids=lambda n: str(n))
@pytest.mark.parametrize("pieces", [(1,) * 40, (40,), (7, 20, 13), (3, 400, 2)], ids=str)
def test_buffer_holds_exactly_the_sinks_and_the_last_tokens(sink_size, recent_size, pieces):
    length = sum(pieces)
    _, keys, values = tokens(length)
    buffer = SinkWindowBuffer(keys, values, sink_size, recent_size)
    start = 0
    for piece in pieces:
        buffer.append(keys[:, :, start : start + piece], values[:, :, start : start + piece])
        start += piece
    expected = [p for p in range(length) if p < sink_size or p >= length - recent_size]
    held_keys, held_values = buffer.held()
    order = [
        int((keys[0, 0] == held_keys[0, 0, slot]).all(-1).nonzero()[0]) for slot in range(buffer.num_held)
    ]
    assert sorted(order) == expected
    torch.testing.assert_close(held_values, values[:, :, order])
    first, run_keys, _ = buffer.ordered()
    torch.testing.assert_close(run_keys, keys[:, :, first:length])
    assert [buffer.kept_tokens(p, p + 1) for p in range(length)] == [
        int(p in expected) for p in range(length)
    ]
    assert buffer.kept_tokens(0, length) == len(expected)
    assert buffer.nbytes == 2 * 2 * 16 * 4 * len(expected)


def test_rewind_brings_back_what_the_ring_had_overwritten():
    _, keys, values = tokens(50)
    buffer = SinkWindowBuffer(keys, values, 2, 8)
    buffer.append(keys[:, :, :20], values[:, :, :20])
    before = [tensor.clone() for tensor in buffer.held()]
    mark = buffer.mark()
    buffer.append(keys[:, :, 20:], values[:, :, 20:])
    buffer.rewind(mark)
    assert buffer.seen_tokens == 20
    for now, then in zip(buffer.held(), before, strict=True):
        torch.testing.assert_close(now, then, atol=0, rtol=0)


def test_full_buffer_never_grows_past_what_it_was_made_for():
    _, keys, values = tokens(10)
    buffer = FullBuffer(keys, values, 9)
    with pytest.raises(AssertionError, match="10 tokens in a buffer made for 9"):
        buffer.append(keys, values)
