"""The same part of attention for few queries over many keys in bfloat16 on a CPU, as products over all keys at once.

PyTorch's flash kernel multiplies 512 keys at a time, by a routine that takes as long for one query as for eight. Scores
of bfloat16 would be too coarse: they are oneDNN's product in float32 of keys that were bfloat16.
"""

import functools
from itertools import starmap

import torch

# Queries that a product takes at the price of one: numbers in a vector register.
MOST_ROWS = 16
# Bytes of keys that a core must have for products to be the quicker way while a model decodes, in all and besides for
# each KV head, to which some calls fall. Alone they take 0.7 to 1.1 times as long as the flash kernel at these bounds,
# with 8,000 keys 0.55 to 0.9 (1 to 8 KV heads of 64 numbers, one and two cores, torch 2.13, freed blocks in the heap as
# lcdoc.models.heap leaves it).
LEAST_KEY_BYTES, LEAST_HEAD_BYTES = 352 << 10, 112 << 10
# Bytes of values that are worked on at a time; at least one head's.
MOST_KEY_BYTES = 6 << 20
# Keys are filled up to a multiple of this: a product makes code for each new shape, which takes longer than it runs.
PADDED_TO = 256


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
    heads = rows, keys.flatten(0, 1), values.flatten(0, 1)
    if at_once < len(rows):
        parts = starmap(_attend_heads, zip(*(part.split(at_once) for part in heads), strict=True))
        output, lse = (torch.cat(some) for some in zip(*parts, strict=True))
    else:
        output, lse = _attend_heads(*heads)
    return output.reshape(*query.shape[:-1], values.shape[-1]), lse.reshape(query.shape[:-1])


def _attend_heads(
    rows: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """rows: [heads, rows, head_dim] in float32; keys, values: [heads, num_keys, dim]. Returns output [heads, rows, dim]
    and log-sum-exp [heads, rows]."""
    num_keys, head_dim = keys.shape[1:]
    own = rows.new_empty(_padded_length(num_keys), head_dim)  # the same for all heads, so that it stays near
    scores = [
        torch.ops.mkldnn._linear_pointwise(row, _fill(own, head), None, "none", [], "")
        for row, head in zip(rows.unbind(), keys.unbind(), strict=True)
    ]
    weights = torch.stack(scores)  # [heads, rows, padded keys]
    weights.narrow(2, num_keys, weights.shape[2] - num_keys).fill_(float("-inf"))
    most = weights.amax(dim=-1)
    weights = torch.softmax(weights, dim=-1)
    lse = most - weights.amax(dim=-1).log()
    return torch.bmm(weights.to(values.dtype), _padded(values)), lse


def _padded(tensor: torch.Tensor) -> torch.Tensor:
    """[heads, num_keys, dim] as [heads, padded keys, dim], with zeros behind. A cache holds its heads apart, and a
    product would make one block of them anyway."""
    heads, num_keys, dim = tensor.shape
    return _fill(tensor.new_empty(heads, _padded_length(num_keys), dim), tensor)


def _fill(padded: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """The tensor and zeros behind it, in the keys' dimension."""
    num_keys = tensor.shape[-2]
    padded.narrow(-2, 0, num_keys).copy_(tensor)
    padded.narrow(-2, num_keys, padded.shape[-2] - num_keys).zero_()
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
