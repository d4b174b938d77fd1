"""Runs of a document's pages, in words."""

import re

NUMBERED = re.compile(r"([^\W\d]+?)s? (\d+)(?:-(\d+))?")


def place_text(unit: str, first: str, last: str) -> str:
    """("page", "3", "7") -> "pages 3-7"; ("lines", "lines 1-40", "lines 81-90") -> "lines 1-90"."""
    if unit == "page":
        return f"page {first}" if first == last else f"pages {first}-{last}"
    if first == last:
        return first
    begin, end = NUMBERED.fullmatch(first), NUMBERED.fullmatch(last)
    if begin and end and begin[1] == end[1]:
        return f"{begin[1]}s {begin[2]}-{end[3] or end[2]}"
    return f"{first} to {last}"
