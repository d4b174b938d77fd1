"""lcdoc.engine.page_selection: decoding by pages, from everything selected to what is chosen."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from lcdoc.engine.attention import attend_buffer
from lcdoc.engine.attention_trace import AttentionTrace
from lcdoc.engine.budget import kv_bytes
from lcdoc.engine.buffers import FullBuffer
from lcdoc.engine.cache import KV_BITS
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.model_shape import ModelShape
from lcdoc.engine.page_layout import PAGE_TOKENS, SINK_TOKENS, num_pages
from lcdoc.engine.page_selection import PageSelection
from lcdoc.engine.paged_buffer import PagedBuffer
from lcdoc.engine.reader import Reader
from lcdoc.engine.sampling import Sampler
from lcdoc.engine.selected_pages import SelectedPages

LENGTH, CHUNK, STEPS = 1020, 256, 24
DTYPES = ["model", "int8", "int4"]


class AllPages(PageSelection):
    """Selects them all, by the way of those that leave some out."""

    def count(self, pages: int) -> int:
        return pages

    def selects(self, pages: int) -> bool:
        return pages > 0


def some() -> PageSelection:
    return PageSelection(least_pages=4, share=0.25)


def opened(model: Any, selection: PageSelection | None, kv_dtype: str = "model") -> Reader:
    return Reader(
        model,
        HeadSplit.exact(),
        capacity_tokens=LENGTH + 2 * STEPS,
        chunk_tokens=CHUNK,
        kv_dtype=kv_dtype,
        selection=selection,
    )


def decoded(reader: Reader, steps: int = STEPS) -> torch.Tensor:
    """The logits after each of the same tokens, [steps, vocab]."""
    logits, tokens = [], iter(range(5, 5 + steps))
    for _ in reader.decode(lambda _: next(tokens), (), steps):
        logits.append(reader.logits)
    return torch.stack([*logits[1:], reader.logits])


@pytest.mark.parametrize("kv_dtype", DTYPES)
def test_everything_selected_is_dense(model_of: Callable, ids: list[int], kv_dtype: str) -> None:
    model, selection = model_of("llama"), AllPages(dense_layers=0)
    readers = [opened(model, choice, kv_dtype) for choice in (selection, None)]
    for reader in readers:
        reader.read(ids)
    # Rounded pages: while a selection stands, its last tokens are still as the model computed them.
    allowed = 1e-4 if kv_dtype == "model" else 5e-3
    torch.testing.assert_close(*(decoded(reader) for reader in readers), atol=allowed, rtol=allowed)
    assert selection.density == 1.0


@pytest.mark.parametrize("kv_dtype", DTYPES)
def test_less_is_attended_to_and_counted(model_of: Callable, ids: list[int], kv_dtype: str) -> None:
    model, selection = model_of("llama"), some()
    readers = [opened(model, choice, kv_dtype) for choice in (selection, None)]
    for reader in readers:
        reader.read(ids)
    assert torch.equal(readers[0].logits, readers[1].logits), "the document is read in full"
    assert selection.density == 1.0
    chosen, dense = (decoded(reader) for reader in readers)
    assert 0.25 < selection.density < 0.5
    assert not torch.equal(chosen, dense)
    assert torch.cosine_similarity(chosen, dense, dim=1).min() > 0.9


@pytest.mark.parametrize("kv_dtype", DTYPES)
def test_rewinding_forgets_the_selection(model_of: Callable, ids: list[int], kv_dtype: str) -> None:
    """What another question left behind, in pages and bounds, is nowhere in the next answer."""
    model = model_of("llama")
    reader, fresh = opened(model, some(), kv_dtype), opened(model, some(), kv_dtype)
    for each in (reader, fresh):
        each.read(ids)
    bare, bytes_before = reader.mark(), reader.cache.nbytes
    reader.prefill(ids[::-1][:STEPS])
    decoded(reader, 20)
    reader.rewind(bare)
    bounds_bytes = num_pages(LENGTH) * 2 * 4 * 2 * 16 * 4  # of 4 blocks of 2 heads of 16 float32
    assert reader.cache.nbytes == bytes_before + 4 * bounds_bytes
    assert torch.equal(decoded(reader), decoded(fresh))


def buffer_of(kind: str, keys: torch.Tensor, selection: PageSelection, capacity: int) -> Any:
    selected = SelectedPages(keys, keys, capacity, selection)
    if kind == "model":
        return FullBuffer(keys, keys, capacity, selected)
    return PagedBuffer(keys, keys, KV_BITS[kind], capacity, selected)


@pytest.mark.parametrize("kind", ["model", "bfloat16", "int8", "int4"])
def test_the_page_that_matters_is_attended_to(kind: str) -> None:
    """Each head's own; until others are chosen, and again once they are."""
    generator = torch.Generator().manual_seed(0)
    keys, values = torch.randn(2, 1, 2, 6000, 64, generator=generator) * 0.1
    places = (2000, 4000)
    for head, place in enumerate(places):
        keys[0, head, place] = 4
        values[0, head, place] = 1 + head
    query = torch.randn(1, 6, 20, 64, generator=generator) * 0.1 + 2
    selection = PageSelection(least_pages=2, share=0, dense_layers=0)
    buffer = buffer_of(kind, keys, selection, 6000)
    buffer.append(keys[:, :, :5900], values[:, :, :5900])
    selection.active = True
    for step in range(20):
        at = slice(5900 + step, 5901 + step)
        output, _ = attend_buffer(
            query[:, :, step : step + 1], keys[:, :, at], values[:, :, at], buffer, 0.125
        )
        for head in range(2):
            torch.testing.assert_close(
                output[0, 3 * head : 3 * head + 3], torch.full((3, 1, 64), 1.0 + head), atol=0.1, rtol=0
            )
    assert selection.density < 0.08


def test_pages_that_became_full_are_attended_to_at_once() -> None:
    """Every token since the selection is, whichever page it came to lie in."""
    keys = torch.randn(1, 1, 1000, 64, generator=torch.Generator().manual_seed(0))
    selection = PageSelection(least_pages=1, share=0, every_steps=300, dense_layers=0)
    buffer = buffer_of("model", keys, selection, 1000)
    buffer.append(keys[:, :, :600], keys[:, :, :600])
    selection.active = True
    for at in range(600, 900):
        new = keys[:, :, at : at + 1]
        attend_buffer(new, new, new, buffer, 0.125)
    held, _ = buffer.selected.keys()
    first = SINK_TOKENS + PAGE_TOKENS
    tail = 600 - SINK_TOKENS - num_pages(601) * PAGE_TOKENS
    assert torch.equal(held[:, :, first : first + tail + 300], keys[:, :, 600 - tail : 900])


@pytest.mark.parametrize("kv_dtype", DTYPES)
def test_bytes_are_those_planned(model_of: Callable, ids: list[int], kv_dtype: str) -> None:
    model, selection = model_of("llama"), some()
    shape = ModelShape.from_config(model.config, 0, torch.float32)
    reader = opened(model, selection, kv_dtype)
    reader.read(ids)
    list(reader.decode(Sampler(), (), STEPS))
    allocated = sum(layer.capacity_bytes for layer in reader.cache.layers)
    capacity = LENGTH + 2 * STEPS
    assert allocated == kv_bytes(shape, HeadSplit.exact(), capacity, kv_dtype, selection=selection)
    assert allocated > kv_bytes(shape, HeadSplit.exact(), capacity, kv_dtype)
    assert reader.cache.nbytes < allocated


def test_stepping_down_takes_the_selection_along(model_of: Callable, ids: list[int]) -> None:
    model, selection = model_of("llama"), some()
    reader, small = opened(model, selection), opened(model, some(), "int8")
    for each in (reader, small):
        each.read(ids)
    form = {"split": HeadSplit.exact(), "chunk_tokens": CHUNK, "eviction": None}
    reader.step_down(kv_dtype="int8", **form)
    torch.testing.assert_close(decoded(reader), decoded(small), atol=1e-2, rtol=1e-2)
    assert selection.density < 0.5


def test_what_is_attended_to_is_traced_where_it_stands(model_of: Callable, ids: list[int]) -> None:
    model, heads, bounds = model_of("llama"), frozenset({(0, 1), (3, 0), (5, 1)}), [10, 70, 500, 501, 990]
    rows = []
    for selection in (AllPages(dense_layers=0), None):
        reader, trace = opened(model, selection), AttentionTrace(heads, bounds)
        reader.read(ids)
        list(reader.decode(lambda logits: 7, (), 8, trace))
        rows.append(torch.stack(trace.rows(range(LENGTH, LENGTH + 8))))
    assert rows[0].shape == (8, 4)
    torch.testing.assert_close(*rows, atol=1e-5, rtol=1e-3)
