"""lcdoc.kernels.sink_window_prefill: Triton and the engine's parts against PyTorch in float32."""

import pytest
import torch
from lcdoc.kernels.sink_window_prefill import naive

from lcdoc.engine.buffers import SinkWindowBuffer
from lcdoc.engine.window_attention import attend_window

from .conftest import assert_close_as_pytorch

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
