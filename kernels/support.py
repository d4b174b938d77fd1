"""Where Triton's kernels run."""

from functools import cache
from importlib.util import find_spec

import torch

MAX_HEAD_DIM = 256


def runs_triton(tensor: torch.Tensor) -> bool:
    """Whether the tensor is where Triton's kernels are compiled for."""
    return tensor.device.type == "cuda" and _has_triton()


def supports(query: torch.Tensor, values: torch.Tensor, softcap: float | None) -> bool:
    """Whether Triton's attention kernels compute this here; otherwise the plain versions must."""
    alike = query.shape[-1] == values.shape[-1] <= MAX_HEAD_DIM
    return softcap is None and alike and runs_triton(query)


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None
