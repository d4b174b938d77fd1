"""Where a model runs and in which number format, chosen by what the machine can do."""

from typing import TYPE_CHECKING

from lcdoc.errors import ModelError

if TYPE_CHECKING:
    import torch

DTYPES = ("bfloat16", "float16", "float32")
BFLOAT16_CAPABILITY = (8, 0)


def choose_device(device: str = "auto") -> "torch.device":
    """The device meant; auto is CUDA where there is one, else the CPU. Raises ModelError."""
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ModelError(f"unknown device {device!r}; use auto, cpu, cuda or cuda:N") from error
    if chosen.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (chosen.index or 0) >= count:
            raise ModelError(f"no device {device}: {count} CUDA devices were found; use --device cpu")
        return torch.device("cuda", chosen.index or 0)
    if chosen.type != "cpu":
        raise ModelError(f"device {device!r} is not supported; use auto, cpu, cuda or cuda:N")
    return chosen


def choose_dtype(dtype: str, device: "torch.device") -> "torch.dtype":
    """The format meant; auto is bfloat16 where the device computes it in hardware, else float32."""
    import torch

    if dtype == "auto":
        return torch.bfloat16 if _computes_bfloat16(device) else torch.float32
    if dtype not in DTYPES:
        raise ModelError(f"unknown dtype {dtype!r}; use auto, {', '.join(DTYPES)}")
    chosen: torch.dtype = getattr(torch, dtype)
    return chosen


def stored_weights(weights: str, dtype: "torch.dtype") -> str:
    """What --weights comes to: a model that computes in bfloat16 has its weights in it anyway."""
    import torch

    return "model" if weights == "bf16" and dtype == torch.bfloat16 else weights


def dtype_name(dtype: "torch.dtype") -> str:
    return str(dtype).removeprefix("torch.")


def _computes_bfloat16(device: "torch.device") -> bool:
    """On a CPU without such instructions bfloat16 is emulated, several times slower than float32."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= BFLOAT16_CAPABILITY
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
