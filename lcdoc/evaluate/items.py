"""Questions with answers, from a file of JSON lines."""

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lcdoc.errors import DocumentError
from lcdoc.evaluate.longbench import is_longbench, translate
from lcdoc.evaluate.metrics import CLASS, METRICS, named_class


@dataclass(frozen=True)
class Item:
    """One question about one text.

    context: the whole text. answers: each is right by itself; of a "choice" the letter. metric: one of METRICS, or
    CLASS. source: where the question comes from. classes: of CLASS, the names to choose from. first_line: only that of
    an answer is scored.
    """

    id: str
    context: str
    question: str
    answers: tuple[str, ...]
    metric: str
    source: str
    classes: tuple[str, ...] = ()
    first_line: bool = False

    def score(self, answer: str) -> float:
        """How right an answer is, from 0 to 1."""
        said = answer.lstrip("\n").split("\n")[0] if self.first_line else answer
        if self.metric == CLASS:
            return named_class(said, self.answers, self.classes)
        return METRICS[self.metric](said, self.answers)


def load_items(path: Path) -> list[Item]:
    """The items of a .jsonl or .jsonl.gz file. Raises DocumentError, which names the line.

    Each line is an object with "context", "question", "answers" (a list) and "metric", and for the metric "class" with
    "classes" (a list); "id", "source" and "first_line" may be there, and anything else is ignored. Lines of LongBench's
    files are taken as they are.
    """
    items = []
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            items.append(_item(line, number, f"{path}: line {number}"))
    if not items:
        raise DocumentError(f"{path}: holds no questions; it needs one JSON object a line")
    return items


def _lines(path: Path) -> Iterator[str]:
    try:
        data = path.read_bytes()
        text = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        yield from text.decode("utf-8-sig").split("\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DocumentError(f"{path}: can't be read as JSON lines in UTF-8: {error}") from error


def _item(line: str, number: int, place: str) -> Item:
    try:
        fields: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise DocumentError(f"{place} is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise DocumentError(f"{place} must be a JSON object, not {type(fields).__name__}")
    if is_longbench(fields):
        fields = translate(fields, place)
    for name in ("context", "question", "metric"):
        if not isinstance(fields.get(name), str):
            raise DocumentError(f'{place} must have "{name}" as text')
    known = (*METRICS, CLASS)
    if fields["metric"] not in known:
        raise DocumentError(f"{place}: metric must be one of {', '.join(known)}, not {fields['metric']!r}")
    return Item(
        id=str(fields.get("id", number)),
        context=fields["context"],
        question=fields["question"],
        answers=_texts(fields, "answers", place),
        metric=fields["metric"],
        source=str(fields.get("source", "")),
        classes=_texts(fields, "classes", place) if fields["metric"] == CLASS else (),
        first_line=fields.get("first_line") is True,
    )


def _texts(fields: dict[str, Any], name: str, place: str) -> tuple[str, ...]:
    texts = fields.get(name)
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise DocumentError(f'{place} must have "{name}" as a list of one text or more')
    return tuple(texts)
