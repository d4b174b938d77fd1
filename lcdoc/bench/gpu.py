"""What a GPU makes of lcdoc, in minutes: kernels, reading, answering, and millions of tokens within a budget."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from lcdoc.bench.gpu_kernels import measure_copy, measure_prefill_kernels
from lcdoc.bench.gpu_model import GpuModel
from lcdoc.bench.kernels import heads_of
from lcdoc.bench.schedule import DONE, Deadline, Item, run_items
from lcdoc.bench.subject import Subject
from lcdoc.config import ReadSettings
from lcdoc.engine.budget import kv_bytes
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.memory import MemoryMeter, release_unused
from lcdoc.engine.model_shape import ModelShape
from lcdoc.errors import ModelError, UsageError
from lcdoc.evaluate.report import new_report
from lcdoc.models import choose_device, choose_dtype, weights_bytes

PROFILE = "meta-llama-3.1-8b-instruct"
DENSE, DUO, DUO_SPARSE, INT4 = "exact", "duo@50%", "duo@50%+sparse", "int4"
SAMPLED_LAYERS = 4  # of a dense reading whose keys and values would not fit
LAST_CHUNKS = 4  # read of the longest text, after what is made up
SPARE_BYTES = 4 << 30  # beside weights, keys and values


@dataclass(frozen=True)
class GpuSizes:
    """lengths in tokens: kernels, of a layer's past; decode, and read: of a model's text. within: read in `budget`.
    copy_bytes: of one copy. chunk_tokens: read at once. sampled: of a text of which some chunks are read. most: of one
    whose last chunks are read in `most_budget`."""

    kernels: tuple[int, ...] = (32_768, 131_072, 524_288, 1_048_576)
    decode: tuple[int, ...] = (131_072, 1_048_576)
    read: tuple[int, ...] = (131_072, 327_680)
    within: int = 1_048_576
    budget: str = "24GB"
    copy_bytes: int = 4 << 30
    chunk_tokens: int = 4096
    sampled: int = 524_288
    most: int = 4_194_304
    most_budget: str = "80GB"


class GpuBench:
    """results: what became of each item so far."""

    def __init__(
        self, shape: str, deadline_s: float, device: str, dtype: str, sizes: GpuSizes | None = None
    ) -> None:
        """shape: of the random weights. deadline_s: no item is begun that can't end by then. Raises ModelError without
        a CUDA device, and UsageError."""
        if deadline_s <= 0:
            raise UsageError(f"deadline must be above 0, not {deadline_s:g}")
        self._device = choose_device(device if torch.cuda.is_available() else "cpu")
        if self._device.type != "cuda":
            raise ModelError(
                "bench gpu needs a CUDA device, and none was found; lcdoc bench kernels runs without"
            )
        self._sizes = sizes or GpuSizes()
        self._shape, self._deadline_s = shape, deadline_s
        self._dtype = choose_dtype(dtype, self._device)
        self._settings = ReadSettings(profile=PROFILE, chunk_tokens=self._sizes.chunk_tokens)
        self._subject = Subject(shape=shape, device=device, dtype=dtype)
        self._head = new_report("bench gpu", self._subject.name, device, dtype) | {
            "settings": {"deadline_s": deadline_s, "profile": PROFILE, **vars(self._sizes)}
        }
        self._complete = False
        self.results: list[Mapping[str, Any]] = []

    def run(self) -> Iterator[Mapping[str, Any]]:
        """Measures item after item and yields what became of each."""
        deadline = Deadline(self._deadline_s)
        model = GpuModel(self._subject, self._settings, deadline)
        for result in run_items(self._items(model), deadline, MemoryMeter(self._device).free_bytes):
            self.results.append(result)
            yield result
            release_unused()
        self._complete = True

    def report(self) -> dict[str, Any]:
        """All there is so far, ready for JSON."""
        done = sum(result["status"] == DONE for result in self.results)
        return self._head | {"complete": self._complete, "done": done, "results": list(self.results)}

    def _items(self, model: GpuModel) -> Iterator[Item]:
        """Those that later ones build on, and short ones, first."""
        sizes = self._sizes
        copy = partial(measure_copy, self._device, sizes.copy_bytes)
        yield Item("copy", 2, 2 * sizes.copy_bytes, copy)
        heads = heads_of(self._shape, sizes.chunk_tokens)
        row_bytes = 2 * heads.num_kv_heads * heads.head_dim * self._dtype.itemsize
        for length in sizes.kernels:
            measure = partial(measure_prefill_kernels, heads, length, self._device, self._dtype)
            yield Item(f"kernels after {length:,}", 5, 2 * length * row_bytes, measure)
        for length in sizes.decode:
            for mode in (DENSE, INT4, DUO):  # where bfloat16 does not fit with all heads, with half of them
                decode = partial(model.measure_decode, mode, length, self._copied_bytes_per_s)
                yield Item(
                    f"decode after {length:,}, {mode}", 20, self._held_bytes(model, mode, length), decode
                )
        for mode, layers in ((DENSE, SAMPLED_LAYERS), (DUO_SPARSE, None)):
            sample = partial(self._sample, model, mode, layers)
            yield Item(
                f"chunks of {sizes.sampled:,}, {mode}",
                20,
                self._held_bytes(model, mode, sizes.sampled, layers),
                sample,
            )
        for length in sizes.read:
            for mode in (DENSE, DUO):
                read = partial(model.measure_prefill, mode, length)
                needed_s = 30 if length < 2**18 else 60
                yield Item(f"read {length:,}, {mode}", needed_s, self._held_bytes(model, mode, length), read)
        model.release()
        lean = model.with_settings(mode="duo", streaming="75%", kv_dtype="int4", weights="int4")
        last_tokens = LAST_CHUNKS * sizes.chunk_tokens
        most = partial(lean.measure_budget, sizes.most, sizes.most_budget, last_tokens=last_tokens)
        yield Item(f"last of {sizes.most:,} within {sizes.most_budget}", 60, 56 << 30, most)
        within = partial(lean.measure_budget, sizes.within, sizes.budget)
        yield Item(f"read {sizes.within:,} within {sizes.budget}", 60, 30 << 30, within)

    @property
    def _copied_bytes_per_s(self) -> float | None:
        return self.results[0].get("bytes_per_s") if self.results else None

    def _sample(self, model: GpuModel, mode: str, layers: int | None, found: dict[str, Any]) -> None:
        """times_dense: how many times as long the dense reading, measured before, takes."""
        model.measure_sample(mode, self._sizes.sampled, layers, found)
        dense = f"chunks of {self._sizes.sampled:,}, {DENSE}"
        for result in self.results:
            if result["item"] == dense and "extrapolated_s" in result:
                found["times_dense"] = result["extrapolated_s"] / found["extrapolated_s"]

    def _held_bytes(self, model: GpuModel, mode: str, length: int, layers: int | None = None) -> int:
        """Keys and values of a mode, in so many layers or all, what work takes besides, and weights where they are not
        loaded yet."""
        config = self._subject.random_config()
        shape = ModelShape.from_config(config, 0, self._dtype)
        kv = kv_bytes(shape, HeadSplit.exact(), length, "int4" if mode == INT4 else "model")
        weights = 0 if model.is_loaded else weights_bytes(config, self._dtype)
        share = (layers or shape.num_layers) / shape.num_layers / (2 if mode.startswith(DUO) else 1)
        return weights + int(kv * share) + SPARE_BYTES
