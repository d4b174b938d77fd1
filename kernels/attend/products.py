"""The same part of attention for few queries over many keys in bfloat16 on a CPU, as products over all keys at once.

PyTorch's flash kernel multiplies 512 keys at a time, by a routine that takes as long for one query as for eight. Scores
of bfloat16 would be too coarse: they are oneDNN's product in float32, run by run, of keys that were bfloat16.
"""

import functools
from itertools import starmap

import torch

# Queries that a product takes at the price of one: numbers in a vector register.
MOST_ROWS = 16
# Bytes of keys that a core must have for products to be the quicker way, in all and besides for each KV head, to which
# some calls fall. At the bounds they take 0.9 to 1.1 times as long as the flash kernel, with 8,000 to 32,000 keys 0.5
# to 1.0 (1 to 8 KV heads of 64 and 128 numbers, one and two cores, torch 2.13).
LEAST_KEY_BYTES, LEAST_HEAD_BYTES = 352 << 10, 112 << 10
# Bytes of values that are worked on at a time; at least one head's.
MOST_KEY_BYTES = 6 << 20
# Keys of one head that are in float32 at a time, and what their number is filled up to a multiple of: a product makes
# code for each new shape, which takes longer than it runs.
RUN_TOKENS, PADDED_TO = 8192, 256


def supports(query: torch.Tensor, keys: torch.Tensor, softcap: float | None) -> bool:
    """Whether this part is computed here, without a mask, and sooner than by the flash kernel."""
    if not multiplies(query, softcap):
        return False
    key_bytes, num_rows = keys.numel() * keys.itemsize, query.shape[1] // keys.shape[1] * query.shape[2]
    least_bytes = LEAST_KEY_BYTES + keys.shape[:2].numel() * LEAST_HEAD_BYTES
    enough = key_bytes >= least_bytes * torch.get_num_threads()
    return enough and num_rows <= MOST_ROWS and key_bytes // keys.shape[:2].numel() <= MOST_KEY_BYTES


def attend(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, *, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """As naive.attend, without mask and softcap. Queries of one group share their keys; nothing is repeated."""
    batch, kv_heads, num_keys, head_dim = keys.shape
    rows = query.reshape(batch * kv_heads, -1, head_dim).float().mul_(scale)
    at_once = max(1, MOST_KEY_BYTES // (num_keys * head_dim * keys.itemsize))
    heads = (part.split(at_once) for part in (rows, keys.flatten(0, 1), values.flatten(0, 1)))
    outputs, lses = zip(*starmap(_attend_heads, zip(*heads, strict=True)), strict=True)
    return (
        torch.cat(outputs).reshape(*query.shape[:-1], values.shape[-1]),
        torch.cat(lses).reshape(query.shape[:-1]),
    )


def _attend_heads(
    rows: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """rows: [heads, rows, head_dim] in float32; keys, values: [heads, num_keys, dim]. Returns output [heads, rows, dim]
    and log-sum-exp [heads, rows]."""
    weights = _scores(rows, keys)
    most = weights.amax(dim=-1)
    torch.softmax(weights, dim=-1, out=weights)
    lse = most - weights.amax(dim=-1).log()
    return torch.bmm(weights.to(values.dtype), _padded(values)), lse


def _scores(rows: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """[heads, rows, padded keys] in float32; -inf for those that are none."""
    num_keys, head_dim = keys.shape[1:]
    padded = _padded_length(num_keys)
    scores = rows.new_empty(*rows.shape[:2], padded)
    run = rows.new_empty(min(RUN_TOKENS, padded), head_dim)
    for head, own in enumerate(keys):
        for start in range(0, num_keys, RUN_TOKENS):
            stop = min(start + RUN_TOKENS, padded)
            some = own[start:stop]
            run[: len(some)] = some
            product = torch.ops.mkldnn._linear_pointwise(
                rows[head], run[: stop - start], None, "none", [], ""
            )
            scores[head, :, start:stop] = product
    scores[..., num_keys:] = float("-inf")
    return scores


def _padded(tensor: torch.Tensor) -> torch.Tensor:
    """[heads, num_keys, dim] as [heads, padded keys, dim], with zeros behind. A cache holds its heads apart, and a
    product would make one block of them anyway."""
    num_keys = tensor.shape[1]
    padded = tensor.new_empty(len(tensor), _padded_length(num_keys), tensor.shape[2])
    padded[:, :num_keys] = tensor
    padded[:, num_keys:] = 0
    return padded


def _padded_length(num_keys: int) -> int:
    return -(-num_keys // PADDED_TO) * PADDED_TO


def multiplies(query: torch.Tensor, softcap: float | None) -> bool:
    """Whether attention with these queries can be made of products: in bfloat16 on a CPU that multiplies it itself, and
    whose flash kernel has no tiles (AMX) to do so quicker."""
    return (
        softcap is None and query.device.type == "cpu" and query.dtype == torch.bfloat16 and _cpu_multiplies()
    )


@functools.cache
def _cpu_multiplies() -> bool:
    return torch.cpu._is_avx512_bf16_supported() and not torch.cpu._is_amx_tile_supported()
