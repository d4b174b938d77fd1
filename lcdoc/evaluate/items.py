"""Questions with answers, from a file of JSON lines."""

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lcdoc.errors import DocumentError
from lcdoc.evaluate.metrics import METRICS


@dataclass(frozen=True)
class Item:
    """One question about one text.

    context: the whole text. answers: each is right by itself; of a "choice" the letter. metric: one of METRICS.
    source: where the question comes from.
    """

    id: str
    context: str
    question: str
    answers: tuple[str, ...]
    metric: str
    source: str


def load_items(path: Path) -> list[Item]:
    """The items of a .jsonl or .jsonl.gz file. Raises DocumentError, which names the line.

    Each line is an object with "context", "question", "answers" (a list) and "metric"; "id" and "source" may be there,
    and anything else is ignored.
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
    for name in ("context", "question", "metric"):
        if not isinstance(fields.get(name), str):
            raise DocumentError(f'{place} must have "{name}" as text')
    answers = fields.get("answers")
    if not isinstance(answers, list) or not answers or not all(isinstance(text, str) for text in answers):
        raise DocumentError(f'{place} must have "answers" as a list of one text or more')
    if fields["metric"] not in METRICS:
        raise DocumentError(f"{place}: metric must be one of {', '.join(METRICS)}, not {fields['metric']!r}")
    return Item(
        id=str(fields.get("id", number)),
        context=fields["context"],
        question=fields["question"],
        answers=tuple(answers),
        metric=fields["metric"],
        source=str(fields.get("source", "")),
    )
