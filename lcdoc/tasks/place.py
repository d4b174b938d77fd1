"""The device that a plan is for: one of this machine, or one elsewhere that is known by its kind alone."""

from dataclasses import dataclass

import torch

from lcdoc.config import ReadSettings
from lcdoc.engine.memory import MemoryMeter
from lcdoc.errors import UsageError
from lcdoc.models import choose_device, choose_dtype


@dataclass(frozen=True)
class Place:
    """base_bytes: what is taken before the weights are loaded. total_bytes: all memory of the device, None where it
    isn't here."""

    device: torch.device
    dtype: torch.dtype
    base_bytes: int
    budget_bytes: int
    total_bytes: int | None

    @property
    def here(self) -> bool:
        return self.total_bytes is not None

    @classmethod
    def of(cls, settings: ReadSettings) -> "Place":
        """As `ask` would choose it; a CUDA device on a machine without CUDA is taken to be elsewhere. Raises UsageError
        where the budget says nothing of such a device."""
        if settings.device.startswith("cuda") and not torch.cuda.is_available():
            return cls._elsewhere(settings)
        device = choose_device(settings.device)
        meter = MemoryMeter(device)
        return cls(
            device,
            choose_dtype(settings.dtype, device),
            meter.base_bytes(),
            meter.budget_bytes(settings.budget),
            meter.total_bytes(),
        )

    @classmethod
    def _elsewhere(cls, settings: ReadSettings) -> "Place":
        if settings.budget is None or settings.budget.endswith("%"):
            given = f", not {settings.budget}" if settings.budget else ""
            raise UsageError(
                f"device {settings.device} is not on this machine: to plan for one elsewhere give its memory as a "
                f"size, such as --budget 24GB{given}"
            )
        device = torch.device(settings.device)
        dtype = torch.bfloat16 if settings.dtype == "auto" else choose_dtype(settings.dtype, device)
        meter = MemoryMeter(device)
        return cls(device, dtype, meter.base_bytes(), meter.budget_bytes(settings.budget), None)
