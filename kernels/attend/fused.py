"""The same part of attention through PyTorch's own flash kernels, which also return the log-sum-exp."""

import torch

# Queries that PyTorch's kernel for CPUs takes together where there are few of them.
QUERY_BLOCK = 32

# By the bytes of a number: blocks for each core, so that all end at about the same time, and the fewest keys that are
# worth a block. In 16 bits PyTorch's kernel is quicker and joining blocks as slow: it pays where cores would be idle.
BLOCKS_EACH = {4: 4, 2: 1}
LEAST_RUN_TOKENS = {4: 512, 2: 1024}


def supports(query: torch.Tensor, values: torch.Tensor, softcap: float | None) -> bool:
    """Whether a flash kernel computes this part; otherwise the plain version must."""
    if softcap is not None or query.shape[-1] != values.shape[-1]:
        return False
    if query.device.type == "cpu":
        return query.dtype in (torch.float32, torch.bfloat16, torch.float16)
    if query.device.type == "cuda":
        capable = torch.cuda.get_device_capability(query.device) >= (8, 0)
        head_dim = query.shape[-1]
        half = query.dtype in (torch.float16, torch.bfloat16)
        return capable and half and head_dim <= 256 and head_dim % 8 == 0
    return False


def attend(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, *, scale: float, causal: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """As naive.attend, without softcap. Queries of one group share their keys; nothing is repeated in memory."""
    if causal:
        return _flash(query, keys, values, scale, causal=True)
    # Without a mask a query's row does not matter, so a group's heads are stacked as rows of their KV head.
    packed = query.reshape(query.shape[0], keys.shape[1], -1, query.shape[-1])
    num_runs = _num_runs(packed, keys)
    if num_runs > 1:
        output, lse = _attend_runs(packed, keys, values, scale, num_runs)
    else:
        output, lse = _flash(packed, keys, values, scale, causal=False)
    return output.reshape(*query.shape[:-1], values.shape[-1]), lse.reshape(query.shape[:-1])


def _num_runs(query: torch.Tensor, keys: torch.Tensor) -> int:
    """Into how many runs a sequence's keys are cut so that every core has its share: PyTorch's kernel gives a core
    whole blocks of a head's queries, of which few queries make fewer than there are cores."""
    threads, itemsize = torch.get_num_threads(), keys.dtype.itemsize
    blocks = keys.shape[1] * -(-query.shape[2] // QUERY_BLOCK)
    alone = len(keys) == 1 and keys.device.type == "cpu"
    needed = BLOCKS_EACH[itemsize] * threads
    if not alone or threads == 1 or blocks >= needed:
        return 1
    num_runs = -(-needed // blocks)
    while num_runs * blocks % threads:
        num_runs += 1
    return min(num_runs, keys.shape[2] // LEAST_RUN_TOKENS[itemsize])


def _attend_runs(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float, num_runs: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """As _flash, without a mask, over so many runs of each head's keys at once, joined by their log-sum-exp (Flash-
    Decoding); what doesn't fill the runs is attended by itself."""
    whole = keys.shape[2] // num_runs * num_runs
    runs = (tensor[0, :, :whole].unflatten(1, (num_runs, -1)) for tensor in (keys, values))
    outputs, lses = _flash(query[0, :, None].expand(-1, num_runs, -1, -1), *runs, scale, causal=False)
    if whole < keys.shape[2]:
        rest = _flash(query, keys[:, :, whole:], values[:, :, whole:], scale, causal=False)
        outputs = torch.cat((outputs, rest[0].transpose(0, 1)), dim=1)
        lses = torch.cat((lses, rest[1].transpose(0, 1)), dim=1)
    most = lses.amax(dim=1, keepdim=True)  # [heads, 1, rows]
    weights = torch.exp(lses - most)
    total = weights.sum(dim=1, keepdim=True)
    output = (outputs * (weights / total).unsqueeze(-1)).sum(dim=1)
    return output[None].to(query.dtype), (most + total.log()).transpose(0, 1)


def _flash(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float, causal: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    if query.device.type == "cpu":
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, keys, values, 0.0, causal, scale=scale
        )
    output, lse, *_ = torch.ops.aten._scaled_dot_product_flash_attention(
        query, keys, values, 0.0, causal, False, scale=scale
    )
    return output, lse[..., : query.shape[2]]
