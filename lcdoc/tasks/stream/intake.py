"""Bytes as they come, to pieces of text that can be read: whole characters, and words and lines where they end."""

import codecs
import re
from dataclasses import dataclass

from lcdoc.documents.cleaning import clean_text

# A line that goes on for longer is taken in pieces.
MOST_CHARS = 4096
LAST_SPACE = re.compile(r"\s(?=\S*\Z)")


@dataclass(frozen=True)
class Piece:
    """lines: 1 where it ends one, else 0."""

    text: str
    lines: int


class Intake:
    """Text that is not a whole line waits, unless it is asked for. num_replaced: characters that were not UTF-8."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
        self._text = ""
        self.num_replaced = 0

    def push(self, data: bytes, final: bool = False) -> list[Piece]:
        """The lines that are whole by now; at the end also what is left."""
        decoded = self._decoder.decode(data, final)
        self.num_replaced += decoded.count("\ufffd")
        self._text += decoded
        lines = self._text.split("\n")
        self._text = lines.pop()
        pieces = [Piece(f"{clean_text(line)}\n", 1) for line in lines]
        while len(self._text) > MOST_CHARS:
            pieces += self._cut(_border(self._text[:MOST_CHARS]) or MOST_CHARS)
        if final:
            pieces += self.rest(words=False)
        return [piece for piece in pieces if piece.text]

    def rest(self, words: bool) -> list[Piece]:
        """What waits of a line that has not ended. words: without a last word that may go on."""
        return self._cut(_border(self._text) if words else len(self._text))

    def _cut(self, stop: int) -> list[Piece]:
        text, self._text = self._text[:stop], self._text[stop:]
        cleaned = clean_text(text + "|")[:-1]  # the end of a piece is no end of a line
        return [Piece(cleaned, 0)] if cleaned else []

    @property
    def state(self) -> dict[str, object]:
        """What `restore` needs."""
        pending, flags = self._decoder.getstate()
        return {
            "bytes": pending.hex(),
            "flags": flags,
            "text": self._text,
            "num_replaced": self.num_replaced,
        }

    def restore(self, state: dict[str, object]) -> None:
        self._decoder.setstate((bytes.fromhex(str(state["bytes"])), int(str(state["flags"]))))
        self._text, self.num_replaced = str(state["text"]), int(str(state["num_replaced"]))


def _border(text: str) -> int:
    """Where the last word, with the space before it, begins; 0 where there is no space."""
    found = LAST_SPACE.search(text)
    return found.start() if found else 0
