"""Rolling notes: what was written of each stretch of a stream, the older part of it summarized again and again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lcdoc.tasks.summarize.draft import Draft, without_known


@dataclass(frozen=True)
class Note:
    """start, stop: the stream's tokens that it tells of. times: how often it was summarized again."""

    start: int
    stop: int
    text: str
    times: int = 0


class Notes:
    """entries: in order. condense: writes one text of several, shorter."""

    def __init__(self, tokenizer: Any, most_tokens: int, condense: Callable[[str], str]) -> None:
        self._tokenizer, self.most_tokens, self._condense = tokenizer, most_tokens, condense
        self.entries: list[Note] = []

    def add(self, start: int, stop: int, text: str) -> Note | None:
        """Without what they say already; None where that is all. While they are too long, the older half of them
        becomes one."""
        new = without_known(Draft(text, cut=False, looped=False), self.text).text.strip()
        if not new:
            return None
        added = Note(start, stop, new)
        self.entries.append(added)
        while len(self.entries) > 1 and self.num_tokens > self.most_tokens:
            older = self.entries[: max(2, len(self.entries) // 2)]
            text = self._condense("\n".join(note.text for note in older))
            times = max(note.times for note in older) + 1
            self.entries[: len(older)] = [Note(older[0].start, older[-1].stop, text, times)]
        return added

    @property
    def text(self) -> str:
        return "\n".join(note.text for note in self.entries)

    @property
    def ids(self) -> list[int]:
        """As they are put before a digest; no more than the most."""
        return self._ids(self.text)[-self.most_tokens :] if self.entries else []

    @property
    def num_tokens(self) -> int:
        return self._count(self.text)

    def _count(self, text: str) -> int:
        return len(self._ids(text))

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
        return ids
