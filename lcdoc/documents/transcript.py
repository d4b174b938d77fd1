"""JSON and JSON Lines: transcripts by turns ("Speaker: text"), anything else as an outline."""

import json
from collections.abc import Sequence
from typing import Any

from lcdoc.documents.cleaning import clean_text, squeeze
from lcdoc.documents.document import Document
from lcdoc.documents.encoding import decode
from lcdoc.documents.limits import Limits
from lcdoc.documents.outline import outline_sections, span_label
from lcdoc.documents.passages import group_by_size
from lcdoc.documents.sections import label_pages
from lcdoc.documents.text import text_document
from lcdoc.errors import DocumentError

_PASSAGE_CHARS = 2_000
_SPEAKERS = ("speaker", "role", "name", "author", "from", "user")
_TEXTS = ("content", "text", "utterance", "message", "value", "body")
_STARTS = ("start", "start_time", "timestamp", "time", "begin", "offset")


def read_json(data: bytes, source: str, limits: Limits) -> Document:
    """A transcript in passages of whole turns ("turns 12-30"), or other JSON as readable text.

    Text that only looks like JSON is read as plain text, with a warning.
    """
    text, warnings = decode(data, source)
    try:
        value = _parse(text)
    except json.JSONDecodeError as failure:
        note = f"not valid JSON (line {failure.lineno}: {failure.msg}), read as plain text"
        return text_document(text, source, "text", (*warnings, note))
    except RecursionError:
        raise DocumentError(
            f"{source}: JSON nested deeper than the limit of {limits.nesting} levels"
        ) from None
    turns, left_out = _find_turns(value)
    if turns is None:
        pages = label_pages(
            (label, clean_text(section)) for label, section in outline_sections(value, source, limits)
        )
        return Document(source, "text", "section", tuple(pages), len(pages), None, warnings)
    if left_out:
        warnings = (*warnings, f"only the turns are read; left out: {', '.join(left_out)}")
    lines = [_turn(turn, source, limits) for turn in turns]
    pages = label_pages(
        (span_label("turn", start, end), "\n".join(lines[start:end]))
        for start, end in group_by_size(lines, _PASSAGE_CHARS)
    )
    return Document(source, "transcript", "turns", tuple(pages), len(pages), None, warnings)


def _parse(text: str) -> Any:
    """One JSON value, or a list of the values of JSON Lines."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as failure:
        lines = [line for line in text.splitlines() if line.strip()]
        try:
            # One value a line; a single line that failed fails again as what it is.
            return [json.loads(line) for line in lines]
        except json.JSONDecodeError:
            raise failure from None


def _find_turns(value: Any) -> tuple[Sequence[dict[str, Any]] | None, list[str]]:
    """The longest list of turns, and the names of what stands beside it."""
    if _are_turns(value):
        return value, []
    if not isinstance(value, dict):
        return None, []
    found = {key: item for key, item in value.items() if _are_turns(item)}
    if not found:
        return None, []
    longest = max(found, key=lambda key: len(found[key]))
    return found[longest], [str(key) for key, item in value.items() if key != longest and item]


def _are_turns(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(_is_turn(item) for item in value)


def _is_turn(item: Any) -> bool:
    """An object that says something and names who or when."""
    return (
        isinstance(item, dict)
        and any(key in item for key in _TEXTS)
        and any(key in item for key in (*_SPEAKERS, *_STARTS))
    )


def _turn(turn: dict[str, Any], source: str, limits: Limits) -> str:
    """ "[00:01:05] Speaker: text"; what is no text is shown as an outline."""
    start = _first(turn, _STARTS)
    speaker = _first(turn, _SPEAKERS)
    lead = f"[{_clock(start)}] " if start is not None else ""
    lead += f"{squeeze(str(speaker))}: " if speaker is not None else ""
    content = _first(turn, _TEXTS)
    if isinstance(content, list):
        content = _joined_parts(content)
    if not isinstance(content, str):
        # A turn without words, such as a call of a tool: everything else that it holds.
        named = (*_SPEAKERS, *_STARTS)
        rest = {key: item for key, item in turn.items() if key not in named and item is not None}
        content = "\n".join(text for _, text in outline_sections(rest, source, limits))
    return clean_text(lead + content.strip())


def _joined_parts(parts: list[Any]) -> str | None:
    """The text of a chat message in parts, or None when a part is no text."""
    texts = [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
    return "\n".join(texts) if len(texts) == len(parts) else None


def _first(turn: dict[str, Any], keys: Sequence[str]) -> Any:
    return next((turn[key] for key in keys if turn.get(key) is not None), None)


def _clock(start: Any) -> str:
    """Seconds as h:mm:ss; anything else as it stands."""
    if isinstance(start, bool) or not isinstance(start, int | float) or not 0 <= start < 360_000:
        return squeeze(str(start))
    seconds = int(start)
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
