"""A training that was stopped, as a file to go on from: safetensors, with the settings it was started with."""

import json
from pathlib import Path
from typing import Any

import torch

from lcdoc.engine.replacing import replacing
from lcdoc.errors import UsageError


def save_checkpoint(path: Path, state: dict[str, torch.Tensor], settings: dict[str, Any]) -> None:
    """Replaces the file in one step. Raises LcdocError where it can't be written."""
    from safetensors.torch import save

    data = save(state, metadata={"settings": json.dumps(settings)})
    with replacing(path, "the checkpoint") as new:
        new.write_bytes(data)


def load_checkpoint(path: Path, settings: dict[str, Any]) -> dict[str, torch.Tensor] | None:
    """What was saved; None where nothing was. Raises UsageError where the settings were others, or the file is
    damaged."""
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            saved = json.loads((file.metadata() or {}).get("settings", "{}"))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise UsageError(f"{path}: not a checkpoint that can be read; add --restart to begin anew") from error
    for name, value in settings.items():
        if saved.get(name) != value:
            raise UsageError(
                f"{path}: was started with {name} {saved.get(name)}, not {value}; add --restart to begin anew"
            )
    return state
