"""A whole model of random weights on a GPU: reading, answering, and reading within a budget."""

import time
from dataclasses import replace
from statistics import median
from typing import Any

import torch

from lcdoc.bench.fill import fill
from lcdoc.bench.gpu_sample import BestPages, first_layers, measure_sample
from lcdoc.bench.schedule import Deadline
from lcdoc.bench.speed import random_ids
from lcdoc.bench.subject import Subject
from lcdoc.bench.timing import synchronize
from lcdoc.config import ReadSettings
from lcdoc.engine.memory import MemoryMeter, release_unused, size_bytes
from lcdoc.engine.model_shape import ModelShape
from lcdoc.engine.reader import Reader
from lcdoc.engine.sampling import Sampler
from lcdoc.errors import DoesNotFitError
from lcdoc.evaluate.modes import first_rung, open_reader
from lcdoc.tasks.plan import list_rungs

DECODE_TOKENS, DECODE_REPEATS = 32, 3
# Whole pages, so that all of them can be decoded by a graph.
ROOM_TOKENS = 256


class GpuModel:
    """Loaded when it is first needed."""

    def __init__(self, subject: Subject, settings: ReadSettings, deadline: Deadline) -> None:
        self._subject, self._settings, self._deadline = subject, settings, deadline
        self._loaded: Any = None

    @property
    def model(self) -> Any:
        if self._loaded is None:
            self._loaded = self._subject.load()
        return self._loaded

    @property
    def is_loaded(self) -> bool:
        return self._loaded is not None

    def release(self) -> None:
        self._loaded = None
        release_unused()

    def measure_prefill(self, mode: str, length: int, found: dict[str, Any]) -> None:
        """Seconds to read so many tokens."""
        model = self.model
        reader = open_reader(model, mode, self._settings, length)
        self._read(model, reader, length, found)

    def measure_sample(self, mode: str, length: int, layers: int | None, found: dict[str, Any]) -> None:
        """Some chunks of a reading of so many tokens, of the first layers or, with None, of all."""
        model = self.model
        shape = ModelShape.from_config(model.config, 0, model.dtype)
        rung = first_rung(shape, mode, self._settings, length)
        assert layers is None or not rung.split.streaming, "which heads stream is told for all layers"
        with first_layers(model, layers or shape.num_layers):
            reader = Reader(
                model,
                rung.split,
                capacity_tokens=length + rung.chunk_tokens,
                chunk_tokens=rung.chunk_tokens,
                kv_dtype=rung.kv_dtype,
                sparse=BestPages() if rung.sparse else None,
            )
            measure_sample(reader, length, shape.num_layers, self._deadline.check, found)

    @torch.inference_mode()
    def measure_decode(
        self, mode: str, length: int, copy_bytes_per_s: float | None, found: dict[str, Any]
    ) -> None:
        """Seconds a token after so many, which are made up, not read; bound_s: what reading weights, keys and values
        once takes at the speed of a copy."""
        model = self.model
        capacity = (length + ROOM_TOKENS) // ROOM_TOKENS * ROOM_TOKENS + ROOM_TOKENS
        reader = open_reader(model, mode, self._settings, capacity)
        assert isinstance(reader, Reader)
        fill(reader, length)
        reader.prefill([1])
        _decode(model, reader)  # captures the graph
        samples = [_decode(model, reader) / DECODE_TOKENS for _ in range(DECODE_REPEATS)]
        weights = sum(weight.nbytes for weight in model.parameters())
        read_bytes = weights - _looked_up_bytes(model) + reader.cache.nbytes
        found |= {
            "samples_s": samples,
            "median_s": median(samples),
            "kv_bytes": reader.cache.nbytes,
            "read_bytes": read_bytes,
            "graph": _graph_state(reader),
        }
        if copy_bytes_per_s:
            bound_s = read_bytes / copy_bytes_per_s
            found |= {"bound_s": bound_s, "share_of_bound": bound_s / median(samples)}

    def measure_budget(
        self, length: int, budget: str, found: dict[str, Any], *, last_tokens: int | None = None
    ) -> None:
        """Reads within a budget that the device holds the process to, and tells the peak; last_tokens: only so many of
        the text are read, after others whose keys and values are made up. Takes the place of the model loaded before.
        Raises DoesNotFitError where no way of reading fits."""
        self.release()
        budget_bytes, model = size_bytes(budget), self._subject.load(self._settings.weights)
        release_unused()
        meter = MemoryMeter(model.device)
        weights = [*model.parameters(), *model.buffers()]
        shape = ModelShape.from_config(model.config, sum(tensor.nbytes for tensor in weights), model.dtype)
        rungs = list_rungs(self._settings, shape, length, base_bytes=0)
        rung = next((rung for rung in rungs if rung.peak_bytes <= budget_bytes), None)
        if rung is None:
            raise DoesNotFitError(f"no way to read {length:,} tokens fits {budget}")
        found |= {
            "budget_bytes": budget_bytes,
            "rung": rung.name,
            "loss": rung.loss,
            "predicted_peak_bytes": rung.peak_bytes,
        }
        if model.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(model.device)
        meter.enforce(budget_bytes)
        try:
            reader = Reader(
                model,
                rung.split,
                capacity_tokens=length,
                chunk_tokens=rung.chunk_tokens,
                kv_dtype=rung.kv_dtype,
            )
            made_up = 0 if last_tokens is None else max(0, length - last_tokens)
            fill(reader, made_up)
            found["made_up_tokens"] = made_up
            self._read(model, reader, length - made_up, found)
        finally:
            found["peak_bytes"] = meter.peak_bytes()
            meter.enforce(meter.total_bytes())

    def with_settings(self, **changes: Any) -> "GpuModel":
        """The same subject, loaded anew, under other settings."""
        return GpuModel(self._subject, replace(self._settings, **changes), self._deadline)

    def _read(self, model: Any, reader: Any, length: int, found: dict[str, Any]) -> None:
        synchronize(model.device)
        started = time.perf_counter()

        def on_chunk(done: int) -> None:
            synchronize(model.device)
            seconds = time.perf_counter() - started
            found.update(tokens_read=done, read_s=seconds, tokens_per_s=done / seconds)
            self._deadline.check()

        reader.read(random_ids(model, length), on_chunk)
        found["kv_bytes"] = reader.cache.nbytes


def _decode(model: Any, reader: Reader) -> float:
    synchronize(model.device)
    started = time.perf_counter()
    for _ in reader.decode(Sampler(), (), DECODE_TOKENS):
        pass
    synchronize(model.device)
    return time.perf_counter() - started


def _looked_up_bytes(model: Any) -> int:
    """Of the weights, the embeddings of tokens: one row of them is read, unless they are the last layer's too."""
    table = model.get_input_embeddings().weight
    last = model.get_output_embeddings()
    shared = last is not None and last.weight is table
    return 0 if shared else table.nbytes


def _graph_state(reader: Reader) -> str:
    if reader.graph is None:
        return "none"
    return "captured" if reader.graph.is_captured else reader.graph.why_usual or "not for so few tokens"
