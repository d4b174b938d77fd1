"""The whole state of a stream in one file, written in one step: keys and values, notes, and how far it was read.

The file is a block as the store has them, with a checksum of all its bytes. It holds the stream's content.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from lcdoc.engine.checkpoint import Checkpoint, LayerForm
from lcdoc.engine.replacing import replacing
from lcdoc.engine.stream_reader import Ledger
from lcdoc.errors import LcdocError, UsageError
from lcdoc.store.block_file import BlockFile, DamagedBlock, write_block
from lcdoc.tasks.stream.notes import Note
from lcdoc.tasks.stream.stream import Stream

# Goes up whenever a state is written down otherwise.
FORMAT = 1
SURPRISE, KIND = "surprise", "lcdoc stream"


@dataclass(frozen=True)
class Saved:
    """What a state says besides the stream's own. saved_s: when, in seconds since the epoch. taken_bytes: up to there.
    question: that the kept spans were chosen for."""

    saved_s: float
    taken_bytes: int
    question: str | None


class State:
    """way: all that decides whether a state can be gone on with, as JSON."""

    def __init__(self, path: Path, way: Mapping[str, object]) -> None:
        self.path, self._way = path, json.loads(json.dumps(way))

    def save(self, stream: Stream) -> None:
        """Raises LcdocError where it can't be written; what was there before is there still."""
        reading, intake = stream.reading, stream.intake
        checkpoint = reading.reader.checkpoint(len(reading.held))
        told = {
            "format": FORMAT,
            "way": self._way,
            "saved_s": time.time(),
            "taken_bytes": stream.taken_bytes,
            "last_bytes": stream.last_bytes.hex(),
            "question": stream.teller.question,
            "num_lines": stream.num_lines,
            "new": [stream.new_tokens, stream.new_lines],
            "noted_tokens": stream.noted_tokens,
            "notes": [asdict(note) for note in stream.teller.notes.entries],
            "waiting": list(stream.waiting),
            "intake": intake.state,
            "seen_tokens": reading.seen_tokens,
            "num_kept": reading.num_kept,
            "token_ids": reading.held.token_ids.tolist(),
            "offsets": reading.held.offsets.tolist(),
            "layers": [form and asdict(form) for form in checkpoint.layers],
        }
        tensors = {**checkpoint.tensors, SURPRISE: reading.held.surprise}
        with replacing(self.path, "the state") as new:
            write_block(new, {"kind": KIND, "state": json.dumps(told)}, tensors)

    def load(self, stream: Stream) -> Saved | None:
        """Goes on with what was saved; None where nothing was. Raises LcdocError for a file that is damaged or of
        another stream."""
        try:
            block = BlockFile(self.path)
        except FileNotFoundError:
            return None
        except (OSError, DamagedBlock) as error:
            raise self._unusable(getattr(error, "strerror", None) or str(error)) from error
        with block:
            try:
                block.check()
                if block.about.get("kind") != KIND:
                    raise DamagedBlock("it is no state of a stream")
                told = json.loads(block.about["state"])
            except (OSError, DamagedBlock) as error:
                raise self._unusable(str(error)) from error
            self._check(told)
            self._restore(stream, told, block)
        return Saved(told["saved_s"], told["taken_bytes"], told["question"])

    def _check(self, told: Mapping[str, Any]) -> None:
        if told["format"] != FORMAT:
            raise self._unusable("another version of lcdoc wrote it")
        for name, value in self._way.items():
            if told["way"].get(name) != value:
                raise UsageError(
                    f"{self.path} was saved with {name} {told['way'].get(name)}, not {value}; give the same options as "
                    f"then, or another file with --state"
                )

    def _restore(self, stream: Stream, told: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
        forms = tuple(form and LayerForm(**form) for form in told["layers"])
        ids, offsets = torch.tensor(told["token_ids"]), torch.tensor(told["offsets"])
        held = Ledger(ids, offsets, tensors[SURPRISE])
        stream.reading.put(told["seen_tokens"], told["num_kept"], held, Checkpoint(forms, tensors))
        stream.taken_bytes, stream.num_lines = told["taken_bytes"], told["num_lines"]
        stream.last_bytes = bytes.fromhex(told["last_bytes"])
        stream.new_tokens, stream.new_lines = told["new"]
        stream.noted_tokens = told["noted_tokens"]
        stream.teller.notes.entries = [Note(**note) for note in told["notes"]]
        stream.waiting.extend((ids, lines) for ids, lines in told["waiting"])
        stream.intake.restore(told["intake"])

    def _unusable(self, reason: str) -> LcdocError:
        return LcdocError(
            f"{self.path}: this state can't be gone on with: {reason}; delete it to begin anew, or name another file "
            f"with --state"
        )
