"""How fast a device does what reading is made of, measured in a few seconds."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch.nn.functional import linear, silu

from lcdoc.engine.buffers import FullBuffer
from lcdoc.engine.fetching import FetchRate, measure_fetching
from lcdoc.engine.layer_step import measure_layer_step_s
from lcdoc.engine.packed_linear import PackedLinear, packs
from lcdoc.engine.page_rate import measure_pages
from lcdoc.engine.paged_buffer import PagedBuffer
from lcdoc.engine.sparse_prefill import SparseRate
from lcdoc.engine.sparse_rate import Filled, measure_sparse
from lcdoc.engine.stopwatch import measure_s
from lcdoc.kernels.attend import attend

CHUNK_ROWS = (128, 1024)
WIDTHS = (512, 2048)
ATTENTION_HEADS, ATTENTION_KV_HEADS, HEAD_DIM = 8, 2, 128
CHUNK_TOKENS, PAST_TOKENS = 1024, 4096
STREAMED_BYTES = 128 << 20  # beyond any cache of the processor

UNPACKED_BITS = {"bfloat16": 16, "int8": 8, "int4": 4}


@dataclass(frozen=True)
class LinearRate:
    """Speed of a feed-forward layer for chunks of `rows` tokens, with square weights of `width`."""

    rows: int
    width: int
    flops_per_s: float


@dataclass(frozen=True)
class Rates:
    """linear: by size. causal, dense: attention of a chunk to itself and to what was read before.
    unpacked: numbers taken out of pages of fewer bits, by how keys and values are stored. bytes_per_s: of weights
    multiplied with one token. attended_bytes_per_s: of keys and values that one token attends to. layer_step_s: a
    layer's fixed cost each time that it is called. fetched: of layers kept off the device, by where they lie; a place
    that could not be measured is missing. sparse: from where on attention by blocks is quicker, by how keys and values
    are stored. pages_from_tokens: held, from which on decoding by pages is quicker."""

    linear: tuple[LinearRate, ...]
    causal_flops_per_s: float
    dense_flops_per_s: float
    unpacked_per_s: dict[str, float]
    bytes_per_s: float
    attended_bytes_per_s: float
    layer_step_s: float
    fetched: dict[str, FetchRate]
    sparse: dict[str, SparseRate]
    pages_from_tokens: int

    def linear_flops_per_s(self, rows: int, width: int) -> float:
        """The rate of the size nearest to the one asked for."""

        def distance(rate: LinearRate) -> float:
            return abs(math.log(rate.rows / rows)) + abs(math.log(rate.width / width))

        return min(self.linear, key=distance).flops_per_s

    def fetch_s(self, layers: Mapping[str, int], layer_bytes: int) -> float | None:
        """For so many layers of this size, by where they lie; None where that could not be measured."""
        if not layers.keys() <= self.fetched.keys():
            return None
        return sum(count * self.fetched[place].fetch_s(layer_bytes) for place, count in layers.items())


@torch.inference_mode()
def measure_rates(device: torch.device, dtype: torch.dtype) -> Rates:
    """Takes about ten seconds, less than 400 MB of memory, and 128 MiB of disk for that time."""
    randn = partial(torch.randn, device=device, dtype=dtype)
    query = randn(1, ATTENTION_HEADS, CHUNK_TOKENS, HEAD_DIM)
    keys, values = randn(2, 1, ATTENTION_KV_HEADS, PAST_TOKENS, HEAD_DIM)
    near_keys, near_values = keys[:, :, :CHUNK_TOKENS], values[:, :, :CHUNK_TOKENS]
    scale = HEAD_DIM**-0.5
    per_pair = 4 * HEAD_DIM * ATTENTION_HEADS
    causal_s = measure_s(device, lambda: attend(query, near_keys, near_values, scale=scale, causal=True))
    dense_s = measure_s(device, lambda: attend(query, keys, values, scale=scale))
    unpacked = {
        name: (keys.numel() + values.numel()) / measure_s(device, _unpack(keys, values, bits))
        for name, bits in UNPACKED_BITS.items()
        if bits < dtype.itemsize * 8
    }
    sparse = {
        name: measure_sparse(device, query, partial(_held, keys, values, bits), scale)
        for name, bits in (("model", None), *UNPACKED_BITS.items())
        if bits is None or bits < dtype.itemsize * 8
    }
    weight = randn(4096, STREAMED_BYTES // dtype.itemsize // 4096)
    token = randn(1, weight.shape[1])
    streamed_s = _streamed_s(device, token, weight)
    attended_s = measure_s(device, lambda: attend(query[:, :, :1], keys, values, scale=scale))
    step_s = measure_layer_step_s(device, dtype)
    return Rates(
        linear=undisturbed(
            [_linear_rate(device, dtype, rows, width) for rows in CHUNK_ROWS for width in WIDTHS]
        ),
        causal_flops_per_s=per_pair * CHUNK_TOKENS * (CHUNK_TOKENS + 1) / 2 / causal_s,
        dense_flops_per_s=per_pair * CHUNK_TOKENS * PAST_TOKENS / dense_s,
        unpacked_per_s=unpacked,
        bytes_per_s=weight.nbytes / streamed_s,
        attended_bytes_per_s=(keys.nbytes + values.nbytes) / attended_s,
        layer_step_s=step_s,
        fetched=measure_fetching(device, weight, step_s),
        sparse=sparse,
        pages_from_tokens=measure_pages(device, query[:, :, :1], keys, values, scale),
    )


def _streamed_s(device: torch.device, token: torch.Tensor, weight: torch.Tensor) -> float:
    """For one token through that weight, laid out as the model's are."""
    if not packs(device, weight.dtype):
        return measure_s(device, lambda: linear(token, weight))
    packed = PackedLinear(weight)
    return measure_s(device, lambda: packed(token))


def undisturbed(measured: Sequence[LinearRate]) -> tuple[LinearRate, ...]:
    """What the rates must be at least, given each other: of two chunks the longer has no lower rate, and the shorter
    takes no more time. Where the machine did something else meanwhile, one was measured that is slower."""

    def least(rate: LinearRate) -> float:
        alike = [other for other in measured if other.width == rate.width]
        return max(min(rate.rows / other.rows, 1.0) * other.flops_per_s for other in alike)

    return tuple(replace(rate, flops_per_s=least(rate)) for rate in measured)


def _linear_rate(device: torch.device, dtype: torch.dtype, rows: int, width: int) -> LinearRate:
    states = torch.randn(rows, width, device=device, dtype=dtype)
    gate, up, down = torch.randn(3, width, width, device=device, dtype=dtype).mul_(width**-0.5)

    def feed_forward() -> None:
        states + linear(silu(linear(states, gate)) * linear(states, up), down)

    return LinearRate(rows, width, 6 * rows * width * width / measure_s(device, feed_forward))


def _held(keys: torch.Tensor, values: torch.Tensor, bits: int | None, num_tokens: int) -> Filled:
    """So many tokens in a buffer of so many bits, or None for one that holds them as they are."""
    if bits is None:
        buffer: Filled = FullBuffer(keys, values, num_tokens)
    else:
        buffer = PagedBuffer(keys, values, bits, num_tokens)
    buffer.append(keys[:, :, :num_tokens], values[:, :, :num_tokens])
    return buffer


def _unpack(keys: torch.Tensor, values: torch.Tensor, bits: int) -> Callable[[], None]:
    buffer = _held(keys, values, bits, PAST_TOKENS)
    assert isinstance(buffer, PagedBuffer)

    def read_all() -> None:
        for _ in buffer.parts():
            pass

    return read_all
