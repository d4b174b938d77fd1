"""How fast a device does what reading is made of, measured in a few seconds."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
from torch.nn.functional import linear, silu

from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.paged_buffer import PagedBuffer
from lcdoc.engine.reader import Reader
from lcdoc.kernels.attend import attend

# Each measurement is repeated until this much time has passed, or MAX_RUNS times.
MEASURE_S = 0.15
MAX_RUNS = 20

CHUNK_ROWS = (128, 1024)
WIDTHS = (512, 2048)
ATTENTION_HEADS, ATTENTION_KV_HEADS, HEAD_DIM = 8, 2, 128
CHUNK_TOKENS, PAST_TOKENS = 1024, 4096
STREAMED_BYTES = 128 << 20  # beyond any cache of the processor
STEP_LAYERS, STEP_TOKENS = 8, 8

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
    multiplied with one token. layer_step_s: a layer's fixed cost each time that it is called."""

    linear: tuple[LinearRate, ...]
    causal_flops_per_s: float
    dense_flops_per_s: float
    unpacked_per_s: dict[str, float]
    bytes_per_s: float
    layer_step_s: float

    def linear_flops_per_s(self, rows: int, width: int) -> float:
        """The rate of the size nearest to the one asked for."""

        def distance(rate: LinearRate) -> float:
            return abs(math.log(rate.rows / rows)) + abs(math.log(rate.width / width))

        return min(self.linear, key=distance).flops_per_s


@torch.inference_mode()
def measure_rates(device: torch.device, dtype: torch.dtype) -> Rates:
    """Takes about three seconds and less than 300 MB."""
    randn = partial(torch.randn, device=device, dtype=dtype)
    query = randn(1, ATTENTION_HEADS, CHUNK_TOKENS, HEAD_DIM)
    keys, values = randn(2, 1, ATTENTION_KV_HEADS, PAST_TOKENS, HEAD_DIM)
    near_keys, near_values = keys[:, :, :CHUNK_TOKENS], values[:, :, :CHUNK_TOKENS]
    scale = HEAD_DIM**-0.5
    per_pair = 4 * HEAD_DIM * ATTENTION_HEADS
    causal_s = _seconds(device, lambda: attend(query, near_keys, near_values, scale=scale, causal=True))
    dense_s = _seconds(device, lambda: attend(query, keys, values, scale=scale))
    unpacked = {
        name: (keys.numel() + values.numel()) / _seconds(device, _unpack(keys, values, bits))
        for name, bits in UNPACKED_BITS.items()
        if bits < dtype.itemsize * 8
    }
    weight = randn(4096, STREAMED_BYTES // dtype.itemsize // 4096)
    token = randn(1, weight.shape[1])
    streamed_s = _seconds(device, lambda: linear(token, weight))
    return Rates(
        linear=tuple(_linear_rate(device, dtype, rows, width) for rows in CHUNK_ROWS for width in WIDTHS),
        causal_flops_per_s=per_pair * CHUNK_TOKENS * (CHUNK_TOKENS + 1) / 2 / causal_s,
        dense_flops_per_s=per_pair * CHUNK_TOKENS * PAST_TOKENS / dense_s,
        unpacked_per_s=unpacked,
        bytes_per_s=weight.nbytes / streamed_s,
        layer_step_s=_layer_step_s(device, dtype),
    )


def _linear_rate(device: torch.device, dtype: torch.dtype, rows: int, width: int) -> LinearRate:
    states = torch.randn(rows, width, device=device, dtype=dtype)
    gate, up, down = torch.randn(3, width, width, device=device, dtype=dtype).mul_(width**-0.5)

    def feed_forward() -> None:
        states + linear(silu(linear(states, gate)) * linear(states, up), down)

    return LinearRate(rows, width, 6 * rows * width * width / _seconds(device, feed_forward))


def _unpack(keys: torch.Tensor, values: torch.Tensor, bits: int) -> Callable[[], None]:
    buffer = PagedBuffer(keys, values, bits, PAST_TOKENS)
    buffer.append(keys, values)

    def read_all() -> None:
        for _ in buffer.parts():
            pass

    return read_all


def _layer_step_s(device: torch.device, dtype: torch.dtype) -> float:
    """A model so small that its numbers cost nothing beside the calls."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from lcdoc.engine.attention import register

    config = LlamaConfig(
        vocab_size=64,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=STEP_LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    config._attn_implementation = register()
    with device:
        model: Any = LlamaForCausalLM(config).eval()
    model.to(dtype)
    reader = Reader(model, HeadSplit.exact(), capacity_tokens=(MAX_RUNS + 2) * STEP_TOKENS)
    reader.prefill([1])

    def steps() -> None:
        for _ in reader.decode(lambda logits: 1, (), STEP_TOKENS):
            pass

    return _seconds(device, steps) / STEP_TOKENS / STEP_LAYERS


def _seconds(device: torch.device, work: Callable[[], object]) -> float:
    """Median time of one run, after one that warms up; one that is long by itself counts."""
    first = _timed(device, work)
    samples = [first] if first > MEASURE_S else []
    while sum(samples) < MEASURE_S and len(samples) < MAX_RUNS:
        samples.append(_timed(device, work))
    return median(samples)


def _timed(device: torch.device, work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return max(time.perf_counter() - started, 1e-9)
