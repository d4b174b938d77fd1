"""Some heads of a tensor: a view where they lie side by side, else one gather with indices made once."""

from functools import lru_cache

import torch


def pick_heads(tensor: torch.Tensor, kv_heads: tuple[int, ...], group_size: int = 1) -> torch.Tensor:
    """tensor: [1, heads, ...], group_size heads to each KV head. Returns those of kv_heads, ascending."""
    first, count = kv_heads[0], len(kv_heads)
    if kv_heads[-1] - first == count - 1:
        return tensor.narrow(1, first * group_size, count * group_size)
    return tensor.index_select(1, _heads(kv_heads, group_size, tensor.device))


def put_heads(tensor: torch.Tensor, part: torch.Tensor, kv_heads: tuple[int, ...], group_size: int) -> None:
    """Writes what `pick_heads` gave out, or what became of it, to where it came from."""
    first, count = kv_heads[0], len(kv_heads)
    if kv_heads[-1] - first == count - 1:
        tensor.narrow(1, first * group_size, count * group_size).copy_(part)
    else:
        tensor.index_copy_(1, _heads(kv_heads, group_size, tensor.device), part)


@lru_cache(maxsize=1024)
def _heads(kv_heads: tuple[int, ...], group_size: int, device: torch.device) -> torch.Tensor:
    with torch.inference_mode(False):
        heads = [head * group_size + idx for head in kv_heads for idx in range(group_size)]
        return torch.tensor(heads, device=device)
