"""JSON that is no transcript, as readable text: one "key: value" a line, indented by depth."""

from typing import Any

from lcdoc.documents.limits import Limits
from lcdoc.documents.passages import group_by_size
from lcdoc.errors import DocumentError

_GROUP_CHARS = 2_000


def outline_sections(value: Any, source: str, limits: Limits) -> list[tuple[str, str]]:
    """(label, text) pairs: an object by its keys, a list by its records ("records 12-20").

    Raises DocumentError when the nesting passes its limit.
    """
    if isinstance(value, dict):
        return [(str(key), _outline({key: item}, source, limits)) for key, item in value.items()]
    if not isinstance(value, list):
        return [("value", _outline(value, source, limits))]
    records = [_outline(item, source, limits) for item in value]
    return [
        (span_label("record", start, end), "\n\n".join(records[start:end]))
        for start, end in group_by_size(records, _GROUP_CHARS)
    ]


def span_label(noun: str, start: int, end: int) -> str:
    """ "record 4" or "records 4-9" for the span [start, end) counted from 0."""
    return f"{noun} {end}" if end - start == 1 else f"{noun}s {start + 1}-{end}"


def _outline(value: Any, source: str, limits: Limits) -> str:
    lines: list[str] = []
    stack: list[tuple[str, Any, int]] = [("", value, -1)]  # what stands before the value, value, depth
    while stack:
        lead, item, depth = stack.pop()
        if depth > limits.nesting:
            raise DocumentError(f"{source}: JSON nested deeper than the limit of {limits.nesting} levels")
        indent = "  " * max(depth, 0)
        if isinstance(item, dict | list) and item:
            if lead:
                lines.append(indent + lead.rstrip())
            children = (
                [(f"{key}: ", child) for key, child in item.items()]
                if isinstance(item, dict)
                else [("- ", child) for child in item]
            )
            stack.extend((child_lead, child, depth + 1) for child_lead, child in reversed(children))
        else:
            lines.append(indent + lead + _scalar(item))
    return "\n".join(lines)


def _scalar(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return "(empty)" if value in ({}, []) else str(value)
