"""Where a model runs and in which number format, chosen by what the machine can do."""

from typing import TYPE_CHECKING

from lcdoc.errors import ModelError

if TYPE_CHECKING:
    import torch

DTYPES = ("bfloat16", "float16", "float32")
BFLOAT16_CAPABILITY = (8, 0)


def choose_device(device: str = "auto") -> "torch.device":
    """ "auto" is CUDA where there is one, else the CPU. Raises ModelError for a device that isn't there."""
    import torch

    if device == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ModelError(f"unknown device {device!r}; use auto, cpu, cuda or cuda:N") from error
    if chosen.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (chosen.index or 0) >= count:
            raise ModelError(f"device {device} is not there: {count} CUDA devices found; use --device cpu")
        return torch.device("cuda", chosen.index or 0)
    if chosen.type != "cpu":
        raise ModelError(f"device {device!r} is not supported; use auto, cpu, cuda or cuda:N")
    return chosen


def choose_dtype(dtype: str, device: "torch.device") -> "torch.dtype":
    """ "auto" is bfloat16 where the device computes it in hardware, else float32."""
    import torch

    if dtype == "auto":
        return torch.bfloat16 if _computes_bfloat16(device) else torch.float32
    if dtype not in DTYPES:
        raise ModelError(f"unknown dtype {dtype!r}; use auto, {', '.join(DTYPES)}")
    return getattr(torch, dtype)


def _computes_bfloat16(device: "torch.device") -> bool:
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= BFLOAT16_CAPABILITY
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()
