"""Gates measured elsewhere: the files that DuoAttention's own training writes (arXiv 2410.10819).

A TSV has a row for each layer and a column for each KV head. A JSON beside it, of the same name or config.json, tells
how they were trained, and the sizes that they were trained for.
"""

import json
from pathlib import Path
from typing import Any

from lcdoc.engine.profiles import HeadProfile
from lcdoc.errors import UsageError

# What the JSON tells of the training, and what a profile calls it.
FACTS = {
    "num_passkeys": "passkeys",
    "num_steps": "steps",
    "lr": "learning_rate",
    "reg_weight": "regularisation",
    "seed": "seed",
}


def import_tsv(path: Path, model: str) -> HeadProfile:
    """A profile of the gates in a TSV, for a model of this name. Raises UsageError where the files are none of that
    kind."""
    gates, training = read_tsv(path), _read_training(path)
    sink_size, recent_size = (_size(training, name, path) for name in ("sink_size", "recent_size"))
    measured: dict[str, Any] = {
        "method": "gates trained with the model's weights frozen (DuoAttention, arXiv 2410.10819)"
    }
    lengths = [training.get(f"context_length_{end}") for end in ("min", "max")]
    if None not in lengths:
        measured["context_tokens"] = lengths
    measured |= {told: training[name] for name, told in FACTS.items() if name in training}
    return HeadProfile(model, gates, sink_size, recent_size, f"imported from {path.name}", None, measured)


def read_tsv(path: Path) -> tuple[tuple[float, ...], ...]:
    """Gates [num_layers][num_kv_heads], clamped to [0, 1]: training leaves them a little outside.

    Raises UsageError, naming the line, for what is no number or a row of another length."""
    rows: list[tuple[float, ...]] = []
    for number, line in enumerate(_read(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = [float(cell) for cell in line.split()]
        except ValueError:
            raise UsageError(f"{path}, line {number}: gates must be numbers with tabs between") from None
        if not all(-1 <= gate <= 2 for gate in row):
            raise UsageError(f"{path}, line {number}: a gate is far outside 0 to 1")
        if rows and len(row) != len(rows[0]):
            raise UsageError(
                f"{path}, line {number}: {len(row)} gates, but {len(rows[0])} in the rows before; "
                f"every layer must have as many KV heads"
            )
        rows.append(tuple(min(max(gate, 0.0), 1.0) for gate in row))
    if not rows:
        raise UsageError(f"{path}: holds no gates; it needs a row for each layer")
    return tuple(rows)


def _read_training(path: Path) -> dict[str, Any]:
    """What stands beside the TSV."""
    beside = (path.with_suffix(".json"), path.with_name("config.json"))
    found = next((file for file in beside if file.is_file()), None)
    if found is None:
        raise UsageError(
            f"{path}: neither {beside[0].name} nor {beside[1].name} is beside it, which tells sink_size and "
            f"recent_size; put it there"
        )
    try:
        training = json.loads(_read(found))
    except ValueError as error:
        raise UsageError(f"{found}: not valid JSON: {error}") from None
    if not isinstance(training, dict):
        raise UsageError(f"{found}: must be one JSON object, not {type(training).__name__}")
    return training


def _size(training: dict[str, Any], name: str, path: Path) -> int:
    size = training.get(name)
    if not isinstance(size, int) or isinstance(size, bool) or size < (name == "recent_size"):
        raise UsageError(f"the JSON beside {path}: {name} must be a whole number of tokens, not {size!r}")
    return size


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UsageError(f"{path}: can't be read: {reason}") from None
