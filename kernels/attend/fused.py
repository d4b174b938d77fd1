"""The same part of attention through PyTorch's own flash kernels, which also return the log-sum-exp."""

import torch


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
    output, lse = _flash(packed, keys, values, scale, causal=False)
    return output.reshape(*query.shape[:-1], values.shape[-1]), lse.reshape(query.shape[:-1])


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
