"""What a result says of its making, and writing it."""

import json
import platform
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

from lcdoc.engine.replacing import replacing
from lcdoc.models.placement import choose_device, choose_dtype

SCHEMA_VERSION = 1
CHECKOUT = Path(__file__).parents[2]


def new_report(suite: str, model: str, device: str, dtype: str) -> dict[str, Any]:
    """The head of a report: date, versions, commit and machine. model: what it is called."""
    import torch

    placed = choose_device(device)
    return {
        "schema_version": SCHEMA_VERSION,
        "suite": suite,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "versions": {
            "lcdoc": version("lcdoc"),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": version("transformers"),
        },
        "machine": {
            "platform": platform.platform(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name(placed) if placed.type == "cuda" else "cpu",
        },
        "model": {"name": model, "dtype": str(choose_dtype(dtype, placed)).removeprefix("torch.")},
    }


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Replaces the file in one step. Raises LcdocError where it can't be written."""
    with _written(path) as file:
        json.dump(report, file, indent=1, ensure_ascii=False)
        file.write("\n")


def write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> int:
    """As write_report, one object a line. Returns how many."""
    num_lines = 0
    with _written(path) as file:
        for line in lines:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            num_lines += 1
    return num_lines


@contextmanager
def _written(path: Path) -> Iterator[TextIO]:
    with replacing(path, "the result", 0o644) as new, new.open("w", encoding="utf-8") as file:
        yield file


def _commit() -> str | None:
    """The commit of the source checkout this runs from, "-dirty" where files differ from it."""
    if not (CHECKOUT / ".git").exists():
        return None
    command = ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip() or None
