"""A file's SHA-256, computed once and remembered for as long as its size and its time stay the same."""

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from lcdoc.engine.replacing import replacing
from lcdoc.models.folders import models_folder


def sha256_of(path: Path) -> str:
    """The file's SHA-256 in hex; a remembered one costs no reading."""
    stat = path.stat()
    key, stamp = str(path.resolve()), f"{stat.st_size} {stat.st_mtime_ns} "
    remembered = _remembered()
    record = remembered.get(key)
    if isinstance(record, str) and record.startswith(stamp):
        return record.removeprefix(stamp)
    digest = hash_file(path)
    _remember({**remembered, key: stamp + digest})
    return digest


def hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _record() -> Path:
    return models_folder() / "hashes.json"


def _remembered() -> dict[str, Any]:
    try:
        content = json.loads(_record().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _remember(content: dict[str, Any]) -> None:
    with suppress(OSError):  # else it is computed again next time
        _record().parent.mkdir(parents=True, exist_ok=True)
        with replacing(_record()) as new:
            new.write_text(json.dumps(content, indent=1), encoding="utf-8")
