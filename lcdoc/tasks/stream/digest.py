"""What is told of a stream."""

from dataclasses import asdict, dataclass
from typing import Any

from lcdoc.tasks.stream.held import Held

DIGEST, ANSWER = "digest", "answer"


@dataclass(frozen=True)
class Digest:
    """kind: DIGEST or ANSWER. reason: what asked for it: "every", "end", "asked" or "interrupted". text: empty where
    there was nothing to tell. written_by: "model", or "document" where the model wrote nothing of use and sentences of
    the stream stand instead. new_tokens: read since the last one. complete: False where it was cut at its limit.
    """

    kind: str
    reason: str
    question: str | None
    text: str
    written_by: str
    complete: bool
    new_tokens: int
    seconds: float
    held: Held

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
