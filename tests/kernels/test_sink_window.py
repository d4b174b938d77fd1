"""lcdoc.kernels.sink_window_prefill: Triton and the engine's parts against PyTorch in float32."""

import pytest
import torch
from lcdoc.kernels.attend import products
from lcdoc.kernels.sink_window_prefill import naive, tiles

from lcdoc.engine.buffers import SinkWindowBuffer
from lcdoc.engine.window_attention import attend_window

from .conftest import assert_close_as_pytorch, masked_attention

# Queries, past, sinks, window, group, head_dim.
CASES = [
    (1, 0, 4, 16, 1, 64),
    (63, 111, 4, 40, 3, 64),
    (111, 63, 0, 100, 4, 96),
    (70, 200, 64, 1, 7, 128),
    (65, 3, 16, 500, 8, 256),
]
IDS = "Q{0[0]}-past{0[1]}-S{0[2]}-W{0[3]}-G{0[4]}-D{0[5]}".format


def chunk_of(made, case):
    num_queries, past, _, _, group, head_dim = case
    query = made(1, 2 * group, num_queries, head_dim)
    return (
        query,
        made(1, 2, past + num_queries, head_dim, seed=1),
        made(1, 2, past + num_queries, head_dim, seed=2),
    )


def parts(case, keys, values):
    """Sinks, a run from where the window of the first query begins, and where all of it stands."""
    num_queries, past, sinks, window, *_ = case
    first = max(0, past - window)
    at = {"first_query": past, "first_key": first, "window": window, "scale": 0.125}
    run = keys[:, :, first:], values[:, :, first:]
    return (keys[:, :, :sinks], values[:, :, :sinks]), run, at


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_one_pass_over_sinks_and_window(fused, made, case):
    query, keys, values = chunk_of(made, case)
    num_queries, past, num_sinks, window, *_ = case
    sinks, run, at = parts(case, keys, values)
    found = fused("sink_window_prefill").attend_sink_window(query, sinks, run, **at)
    assert found[0].dtype == query.dtype
    rows = past + torch.arange(num_queries, device=query.device)[:, None]
    columns = torch.arange(past + num_queries, device=query.device)
    mask = (columns <= rows) & ((columns > rows - window) | (columns < num_sinks))
    assert_close_as_pytorch(found, (query, keys, values), mask, 0.125)


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_the_truth_is_what_the_engine_computes(made, case):
    query, keys, values = chunk_of(made, case)
    _, past, sinks, window, *_ = case
    sink_parts, run, at = parts(case, keys, values)
    truth, _ = naive.attend_sink_window(query, sink_parts, run, **at)
    buffer = SinkWindowBuffer(keys, values, sinks, window)
    buffer.append(keys[:, :, :past], values[:, :, :past])
    new = keys[:, :, past:], values[:, :, past:]
    output, _ = attend_window(query, *new, buffer, 0.125, None)
    torch.testing.assert_close(output, truth, atol=5e-3, rtol=5e-3)


multiplies = pytest.mark.skipif(not products._cpu_multiplies(), reason="the CPU does not multiply bfloat16")


@multiplies
@pytest.mark.parametrize("most", [1 << 20, 5000], ids=["long blocks", "short blocks"])
@pytest.mark.parametrize(
    "case",
    [
        (200, 111, 4, 40, 3, 64),
        (1, 300, 4, 16, 1, 64),
        (63, 128, 0, 100, 4, 96),
        (300, 65, 64, 1, 7, 128),
        (65, 900, 16, 500, 8, 256),
    ],
    ids=IDS,
)
def test_tiles_over_sinks_and_window(case, most, monkeypatch):
    monkeypatch.setattr(tiles, "MOST_SCORES", most)
    num_queries, past, num_sinks, window, group, head_dim = case
    generator = torch.Generator().manual_seed(0)
    query, keys, values = (
        torch.randn(1, heads, length, head_dim, generator=generator).bfloat16()
        for heads, length in ((2 * group, num_queries), (2, past + num_queries), (2, past + num_queries))
    )
    sinks, run, at = parts(case, keys, values)
    real, num_scores = tiles.attend_tile, []

    def counted(queries, some_keys, *rest):
        num_scores.append(queries.shape[0] * queries.shape[1] * len(some_keys))
        return real(queries, some_keys, *rest)

    monkeypatch.setattr(tiles, "attend_tile", counted)
    output, lse = tiles.attend_sink_window(query, sinks, run, **at)
    assert max(num_scores) <= most
    assert output.dtype == torch.bfloat16
    rows = past + torch.arange(num_queries)[:, None]
    columns = torch.arange(past + num_queries)
    mask = (columns <= rows) & ((columns > rows - window) | (columns < num_sinks))
    truth, truth_lse = masked_attention(query.double(), keys.double(), values.double(), mask, 0.125)
    plain, _ = masked_attention(query, keys, values, mask, 0.125)
    assert (output.double() - truth).norm() <= 2 * (plain.double() - truth).norm()
    torch.testing.assert_close(lse.double(), truth_lse, atol=2e-4, rtol=0)


@multiplies
@pytest.mark.parametrize("chunks", [(700,), (300, 400), (1, 64, 200, 3, 432)], ids=str)
def test_a_text_read_in_any_chunks_goes_through_tiles(chunks, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    query, keys, values = (
        torch.randn(1, heads, 700, 64, generator=generator).bfloat16() for heads in (6, 2, 2)
    )
    rows_in_tiles = []
    real = tiles.attend_tile
    monkeypatch.setattr(
        tiles, "attend_tile", lambda rows, *rest: rows_in_tiles.append(rows) or real(rows, *rest)
    )
    buffer = SinkWindowBuffer(keys, values, 16, 100)
    start, outputs = 0, []
    for length in chunks:
        span = slice(start, start + length)
        outputs.append(
            attend_window(query[:, :, span], keys[:, :, span], values[:, :, span], buffer, 0.125, None)[0]
        )
        start += length
    at = {"first_query": 0, "first_key": 0, "window": 100, "scale": 0.125}
    truth, _ = naive.attend_sink_window(
        query.float(),
        (keys[:, :, :16].float(), values[:, :, :16].float()),
        (keys.float(), values.float()),
        **at,
    )
    torch.testing.assert_close(torch.cat(outputs, dim=2).float(), truth, atol=2e-2, rtol=2e-2)
    assert sum(rows.shape[1] for rows in rows_in_tiles) >= 2 * 500
