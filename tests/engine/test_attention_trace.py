"""What each step of decoding attends to, beside a softmax that transformers writes out."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from lcdoc.engine.attention_trace import AttentionTrace
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.reader import Reader

LENGTH, CHUNK = 200, 64
HEADS = frozenset({(0, 1), (3, 0), (3, 1), (5, 0)})
GROUP_SIZE = 2
BOUNDS = [5, 40, 41, 120]
STEPS = 4


@pytest.fixture(scope="module")
def model(model_of: Callable[..., Any]) -> Any:
    return model_of("llama")


def decoded(reader: Reader, ids: list[int], heads: frozenset[tuple[int, int]]) -> tuple[list[int], Any]:
    trace = AttentionTrace(heads, BOUNDS)
    reader.read(ids[:-10])
    reader.prefill(ids[-10:], trace=trace)
    said = list(reader.decode(lambda logits: int(logits.argmax()), (), STEPS, trace))
    return said, trace.rows(range(len(ids) - 1, len(ids) + STEPS))


def plain_peaks(model: Any, ids: list[int], said: list[int]) -> torch.Tensor:
    """[1 + steps, spans]: of the mean over the watched heads the highest in each span."""
    model.set_attn_implementation("eager")
    try:
        with torch.inference_mode():
            layers = model(torch.tensor([ids + said]), output_attentions=True).attentions
    finally:
        model.set_attn_implementation("lcdoc")
    rows = [
        layers[layer][0, GROUP_SIZE * head + idx, -len(said) - 1 :] for layer, head in HEADS for idx in (0, 1)
    ]
    mean = torch.stack(rows).mean(0)
    spans = zip(BOUNDS, BOUNDS[1:], strict=False)
    return torch.stack([mean[:, start:stop].amax(1) for start, stop in spans], 1)


@pytest.mark.parametrize(("kv_dtype", "tolerance"), [("model", 1e-5), ("bfloat16", 1e-3)])
def test_each_steps_peaks_are_those_of_a_plain_softmax(
    model: Any, ids: list[int], reader_for: Callable[..., Reader], kv_dtype: str, tolerance: float
) -> None:
    said, rows = decoded(reader_for(model, kv_dtype=kv_dtype), ids, HEADS)
    assert len(rows) == 1 + len(said) == 1 + STEPS
    assert torch.allclose(torch.stack(rows), plain_peaks(model, ids, said), atol=tolerance)


def test_heads_that_stream_tell_nothing(
    model: Any, ids: list[int], reader_for: Callable[..., Reader]
) -> None:
    every = HeadSplit.stream(6, 2, 4, 32)
    said, rows = decoded(reader_for(model, split=every), ids, HEADS)
    assert len(said) == STEPS and rows == []


def test_a_trace_changes_no_logits(model: Any, ids: list[int], reader_for: Callable[..., Reader]) -> None:
    watched, alone = reader_for(model), reader_for(model)
    said, _ = decoded(watched, ids, HEADS)
    alone.read(ids[:-10])
    alone.prefill(ids[-10:])
    assert list(alone.decode(lambda logits: int(logits.argmax()), (), STEPS)) == said
    assert alone.logits is not None and watched.logits is not None
    assert torch.equal(alone.logits, watched.logits)
