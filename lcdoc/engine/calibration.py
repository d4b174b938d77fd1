"""Rates of this machine, kept from one run to the next in one small file for each device, dtype and thread count."""

import json
import platform
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from lcdoc.engine.fetching import FetchRate
from lcdoc.engine.rates import LinearRate, Rates, measure_rates
from lcdoc.engine.replacing import replacing
from lcdoc.engine.sparse_prefill import SparseRate

# Raised whenever the measurements change, so that older ones are made again.
CALIBRATION_VERSION = 10


@dataclass(frozen=True)
class Machine:
    """What rates hold for. device: its name."""

    device: str
    dtype: str
    threads: int
    torch_version: str

    @classmethod
    def this(cls, device: torch.device, dtype: torch.dtype) -> "Machine":
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor_name()
        return cls(name, str(dtype).removeprefix("torch."), torch.get_num_threads(), torch.__version__)

    @property
    def file_name(self) -> str:
        words = f"{self.device} {self.dtype} {self.threads} threads torch {self.torch_version}"
        return re.sub(r"[^\w.]+", "-", words).strip("-").lower() + ".json"


@dataclass(frozen=True)
class Calibration:
    """date: when it was measured, UTC in ISO 8601."""

    machine: Machine
    date: str
    rates: Rates


def calibrate(device: torch.device, dtype: torch.dtype) -> Calibration:
    """Measures now; about ten seconds."""
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return Calibration(Machine.this(device, dtype), date, measure_rates(device, dtype))


def load_calibration(folder: Path, machine: Machine) -> Calibration | None:
    """What was stored for this machine; None where there is nothing, or nothing whole."""
    try:
        content = json.loads((folder / machine.file_name).read_text(encoding="utf-8"))
        if content["version"] != CALIBRATION_VERSION or Machine(**content["machine"]) != machine:
            return None
        values = content["rates"]
        linear = tuple(LinearRate(**rate) for rate in values["linear"])
        fetched = {place: FetchRate(**rate) for place, rate in values["fetched"].items()}
        sparse = {stored: SparseRate(**rate) for stored, rate in values["sparse"].items()}
        own = {"linear": linear, "fetched": fetched, "sparse": sparse}
        rates = Rates(**{**values, **own})
        return Calibration(machine, str(content["date"]), rates) if _usable(asdict(rates)) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def store_calibration(folder: Path, calibration: Calibration) -> None:
    """Replaces what was stored, in one step. Raises OSError where the folder can't be written to."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"version": CALIBRATION_VERSION, **asdict(calibration)}
    with replacing(folder / calibration.machine.file_name) as new:
        new.write_text(json.dumps(content, indent=1), encoding="utf-8")


def _usable(value: Any) -> bool:
    """Whether there are numbers everywhere, above 0 and finite; rates by name may be none."""
    if isinstance(value, dict):
        return all(map(_usable, value.values()))
    if isinstance(value, list | tuple):
        return bool(value) and all(map(_usable, value))
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine() or "cpu"
