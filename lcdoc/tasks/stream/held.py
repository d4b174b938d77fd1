"""The receipt of a stream: what of it is held, what was dropped, and how far it was read."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Span:
    """Tokens start..stop-1 of the stream, and what they say."""

    start: int
    stop: int
    text: str


@dataclass(frozen=True)
class Offsets:
    """How far the stream was read: bytes that came, and the tokens and lines of them that the model has read."""

    bytes: int
    tokens: int
    lines: int


@dataclass(frozen=True)
class Held:
    """What is held of a stream, in tokens.

    head_tokens: what stands before the text. sinks, window: the first and the last of the text. kept: what left the
    window and stays. tokens_dropped: of the tokens read, those that are none of these. notes_tokens: of the rolling
    notes, which tell of the stream up to noted_tokens; notes_condensed: how often the oldest of them was summarized
    again. replaced_chars: characters that were not UTF-8. highest_position: beyond it no token ever stands; it is
    within the model's window of context_tokens.
    """

    offsets: Offsets
    head_tokens: int
    sinks: Span
    kept: tuple[Span, ...]
    window: Span
    tokens_dropped: int
    notes_tokens: int
    noted_tokens: int
    notes_condensed: int
    replaced_chars: int
    kv_bytes: int
    highest_position: int
    context_tokens: int

    @property
    def kept_tokens(self) -> int:
        return sum(span.stop - span.start for span in self.kept)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def runs(offsets: Sequence[int]) -> list[tuple[int, int]]:
    """[3, 4, 5, 9] -> [(3, 6), (9, 10)]."""
    found: list[tuple[int, int]] = []
    for offset in offsets:
        if found and found[-1][1] == offset:
            found[-1] = found[-1][0], offset + 1
        else:
            found.append((offset, offset + 1))
    return found
