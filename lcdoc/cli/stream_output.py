"""What `lcdoc stream` prints: digests and answers as text, or events as JSON line by line."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lcdoc.cli.measures import bytes_text, count
from lcdoc.cli.output import emit, json_text
from lcdoc.cli.sanitize import clean
from lcdoc.engine.stream_sizes import StreamSizes
from lcdoc.tasks.stream.digest import Digest
from lcdoc.tasks.stream.held import Held

if TYPE_CHECKING:
    from lcdoc.tasks.stream.notes import Note

SCHEMA_VERSION = 1


class Output:
    """Hears what happens, in order."""

    def start(self, sizes: StreamSizes, resumed_tokens: int) -> None:
        return

    def digest(self, digest: Digest, lag_s: float, waiting_bytes: int) -> None:
        return

    def note(self, note: "Note") -> None:
        return

    def saved(self, held: Held) -> None:
        return

    def end(self, held: Held, finished: bool, unread_bytes: int) -> None:
        return


class TextOutput(Output):
    """The texts alone, with an empty line between two."""

    def __init__(self) -> None:
        self._num_texts = 0

    def digest(self, digest: Digest, lag_s: float, waiting_bytes: int) -> None:
        text = clean(digest.text).strip()
        if text:
            emit(("\n" if self._num_texts else "") + f"{text}\n")
            self._num_texts += 1


class JsonlOutput(Output):
    """Events start, digest, answer, note, saved and end, each with its time and how far the stream was read."""

    def start(self, sizes: StreamSizes, resumed_tokens: int) -> None:
        told = {**asdict(sizes), "capacity": sizes.capacity}
        self._event("start", schema_version=SCHEMA_VERSION, sizes=told, resumed_tokens=resumed_tokens)

    def digest(self, digest: Digest, lag_s: float, waiting_bytes: int) -> None:
        values = digest.to_json()
        kind, held = values.pop("kind"), values.pop("held")
        lag = {"lag_s": round(lag_s, 3), "waiting_bytes": waiting_bytes}
        self._event(kind, offsets=held.pop("offsets"), **values, **lag, receipt=held)

    def note(self, note: "Note") -> None:
        self._event("note", start=note.start, stop=note.stop, text=note.text)

    def saved(self, held: Held) -> None:
        self._event("saved", offsets=asdict(held.offsets))

    def end(self, held: Held, finished: bool, unread_bytes: int) -> None:
        values = held.to_json()
        offsets = values.pop("offsets")
        self._event("end", offsets=offsets, finished=finished, unread_bytes=unread_bytes, receipt=values)

    def _event(self, event: str, **values: Any) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        emit(json_text({"event": event, "time": now, **values}) + "\n")


def held_line(held: Held) -> str:
    """The receipt in words."""
    offsets = held.offsets
    facts = [
        f"read {count(offsets.tokens, 'token')} ({bytes_text(offsets.bytes)}, {count(offsets.lines, 'line')})",
        f"held: the first {held.sinks.stop:,}, {held.kept_tokens:,} kept in {count(len(held.kept), 'span')}, "
        f"the last {held.window.stop - held.window.start:,}",
    ]
    if held.tokens_dropped:
        facts.append(f"{held.tokens_dropped:,} dropped")
    if held.notes_tokens:
        facts.append(f"notes of {count(held.notes_tokens, 'token')} tell of the first {held.noted_tokens:,}")
    if held.notes_condensed:
        facts.append(f"the oldest condensed {count(held.notes_condensed, 'time')}")
    if held.replaced_chars:
        facts.append(f"{count(held.replaced_chars, 'character')} not UTF-8")
    return "; ".join(facts)
