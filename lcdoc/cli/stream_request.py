"""What one call of `lcdoc stream` wants."""

from dataclasses import dataclass
from pathlib import Path

from lcdoc.config import Settings
from lcdoc.tasks.stream.every import Every


@dataclass(frozen=True)
class StreamRequest:
    """every: when a digest is due; None for the end alone. question: answered each time, instead of a digest. notes,
    state: the files that these are kept in."""

    settings: Settings
    every: Every | None
    question: str | None
    keep_tokens: int | None
    notes: Path | None
    state: Path | None
    flush_after_s: float
    save_every_s: float
    jsonl: bool
