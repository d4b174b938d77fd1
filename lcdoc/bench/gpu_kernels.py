"""What a GPU's memory and lcdoc's kernels come to, over keys and values of one layer."""

from statistics import median
from typing import Any

import torch

from lcdoc.bench.operations import Heads, Operations
from lcdoc.bench.timing import take_turns

REPEATS = 3


def measure_copy(device: torch.device, num_bytes: int, found: dict[str, Any]) -> None:
    """Bytes read and written in a second by a plain copy of so many."""
    source = torch.empty(num_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    samples = take_turns(device, {"copy": lambda: target.copy_(source)}, REPEATS)["copy"]
    found |= {"samples_s": samples, "bytes_per_s": 2 * num_bytes / median(samples)}


@torch.inference_mode()
def measure_prefill_kernels(
    heads: Heads, num_tokens: int, device: torch.device, dtype: torch.dtype, found: dict[str, Any]
) -> None:
    """FLOP/s, on the work that each does, of a chunk's attention after num_tokens: SDPA over all of them, and lcdoc's
    dense, sink+window and block-sparse kernels; to_dense: beside SDPA's."""
    operations = Operations(heads, num_tokens, device, dtype)
    dense = operations.dense()
    samples = take_turns(device, {"SDPA": dense.run_reference, dense.name: dense.run}, REPEATS)
    flops_per_s = {name: dense.work / median(of) for name, of in samples.items()}
    seconds = {name: median(of) for name, of in samples.items()}
    for make in (operations.sink_window, operations.block_sparse):
        operation = make()
        seconds[operation.name] = median(take_turns(device, {"": operation.run}, REPEATS)[""])
        flops_per_s[operation.name] = operation.work / seconds[operation.name]
    found |= {
        "chunk_tokens": heads.chunk_tokens,
        "median_s": seconds,
        "flops_per_s": flops_per_s,
        "to_dense": {name: rate / flops_per_s["SDPA"] for name, rate in flops_per_s.items()},
    }
