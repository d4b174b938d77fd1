"""What a search has scored so far, as a file to go on from: JSON, with the settings it was started with."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lcdoc.calibrate.exam import Score
from lcdoc.calibrate.rescale import Rescale
from lcdoc.engine.replacing import replacing
from lcdoc.errors import UsageError


@dataclass
class Trials:
    """candidates: in the order they were scored, each with its score. held_out: scores on the other text, by method."""

    candidates: list[tuple[Rescale, Score]] = field(default_factory=list)
    held_out: dict[str, Score] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path, settings: dict[str, Any]) -> "Trials":
        """Empty where nothing was saved. Raises UsageError where the settings were others, or the file is damaged."""
        if not path.exists():
            return cls()
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
            candidates = [_candidate(**row) for row in saved["candidates"]]
            held_out = {method: Score(**row) for method, row in saved["held_out"].items()}
            before = saved["settings"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
            raise UsageError(f"{path}: not a search that can be read; add --restart to begin anew") from error
        for name, value in json.loads(json.dumps(settings)).items():
            if before.get(name) != value:
                raise UsageError(
                    f"{path}: was started with {name} {before.get(name)}, not {value}; add --restart to begin anew"
                )
        return cls(candidates, held_out)

    def save(self, path: Path, settings: dict[str, Any]) -> None:
        """Replaces the file in one step. Raises LcdocError where it can't be written."""
        state = {
            "settings": settings,
            "candidates": self.rows(),
            "held_out": {method: asdict(score) for method, score in self.held_out.items()},
        }
        with replacing(path, "the search") as new:
            new.write_text(json.dumps(state), encoding="utf-8")

    def rows(self) -> list[dict[str, Any]]:
        """The candidates as plain data."""
        return [rescale.rope | asdict(score) for rescale, score in self.candidates]


def _candidate(
    factors: list[float], attention_factor: float, start_tokens: int, needle_nll: float, tail_nll: float
) -> tuple[Rescale, Score]:
    return Rescale(tuple(factors), attention_factor, start_tokens), Score(needle_nll, tail_nll)
