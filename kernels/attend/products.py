"""The same part of attention for few queries over many keys in bfloat16 on a CPU, as products over all keys at once.

PyTorch's flash kernel multiplies 512 keys at a time, by a routine that takes as long for one query as for eight. One
product over all of them takes as long as reading them, but rounds its results to bfloat16, too coarsely for a score: a
second one yields what the first one lost, and their sum is a score to 16 bits.
"""

import functools

import torch

# Queries that a product takes at the price of one: numbers in a vector register.
MOST_ROWS = 16
# Bytes of keys that a core must have for products to be the quicker way. With 1 to 8 KV heads of 64 to 256 numbers and
# 4,000 to 32,000 keys they take 0.31 to 1.06 times as long as the flash kernel (torch 2.13, one and two cores), where
# freed blocks stay in the heap as lcdoc.models.heap sets it: in fresh pages up to 1.41 times.
LEAST_KEY_BYTES = 768 << 10
# Bytes of keys that are worked on at a time, so that the second product finds them in the cache; at least one head's.
MOST_KEY_BYTES = 6 << 20
# Keys are padded to a multiple of this: a product makes code for each new shape, which takes longer than it runs.
PADDED_TO = 256


def supports(query: torch.Tensor, keys: torch.Tensor, softcap: float | None) -> bool:
    """Whether this part is computed here, without a mask, and sooner than by the flash kernel."""
    if not multiplies(query, softcap):
        return False
    key_bytes, num_rows = keys.numel() * keys.itemsize, query.shape[1] // keys.shape[1] * query.shape[2]
    enough = key_bytes >= LEAST_KEY_BYTES * torch.get_num_threads()
    return enough and num_rows <= MOST_ROWS and key_bytes // keys.shape[:2].numel() <= MOST_KEY_BYTES


def attend(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, *, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """As naive.attend, without mask and softcap. Queries of one group share their keys; nothing is repeated."""
    batch, kv_heads, num_keys, head_dim = keys.shape
    rows = query.reshape(batch * kv_heads, -1, head_dim).transpose(1, 2)  # [b * kv, d, rows]
    at_once = max(1, MOST_KEY_BYTES // (num_keys * head_dim * keys.itemsize))
    heads = (part.split(at_once) for part in (rows, keys.flatten(0, 1), values.flatten(0, 1)))
    parts = (_attend_heads(*some, scale) for some in zip(*heads, strict=True))
    outputs, lses = zip(*parts, strict=True)
    return (
        torch.cat(outputs).reshape(*query.shape[:-1], values.shape[-1]),
        torch.cat(lses).reshape(query.shape[:-1]),
    )


def _attend_heads(
    rows: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """rows: [heads, head_dim, rows]; keys, values: [heads, num_keys, dim]. Returns output [heads, rows, dim] and
    log-sum-exp [heads, rows]."""
    scores = _scores(rows, _padded(keys), scale)  # [heads, padded keys, rows]
    weights = scores.new_full((len(rows), rows.shape[2], scores.shape[1]), float("-inf"))
    weights[..., : keys.shape[1]] = scores[:, : keys.shape[1]].transpose(1, 2)
    most = weights.amax(dim=-1)
    torch.softmax(weights, dim=-1, out=weights)
    lse = most - weights.amax(dim=-1).log()
    return torch.bmm(weights.to(values.dtype), _padded(values)), lse


def _scores(rows: torch.Tensor, keys: torch.Tensor, scale: float) -> torch.Tensor:
    """[heads, num_keys, rows] in float32."""
    coarse = torch.baddbmm(rows.new_empty(()), keys, rows, beta=0, alpha=scale)
    fine = torch.baddbmm(coarse, keys, rows, beta=-1, alpha=scale)
    return coarse.float().add_(fine)


def _padded(tensor: torch.Tensor) -> torch.Tensor:
    """[heads, num_keys, dim] as [heads, padded keys, dim], with zeros behind. A cache holds its heads apart, and a
    product would make one block of them anyway."""
    num_keys = tensor.shape[1]
    padded = tensor.new_empty(len(tensor), -(-num_keys // PADDED_TO) * PADDED_TO, tensor.shape[2])
    padded[:, :num_keys] = tensor
    padded[:, num_keys:] = 0
    return padded


def multiplies(query: torch.Tensor, softcap: float | None) -> bool:
    """Whether attention with these queries can be made of products: in bfloat16 on a CPU that multiplies it itself, and
    whose flash kernel has no tiles (AMX) to do so quicker."""
    return (
        softcap is None and query.device.type == "cpu" and query.dtype == torch.bfloat16 and _cpu_multiplies()
    )


@functools.cache
def _cpu_multiplies() -> bool:
    return torch.cpu._is_avx512_bf16_supported() and not torch.cpu._is_amx_tile_supported()
