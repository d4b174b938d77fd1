"""Removes the headers and footers that run through a document, and learns the printed page numbers."""

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

_EDGE_LINES = 3
_MIN_PAGES = 4
_MIN_SHARE = 0.3
_MIN_STEADY_SHARE = 0.8
_NUMBER = re.compile(r"\d+|(?<![^\W\d_])[ivxlc]+(?![^\W\d_])")
_ROMAN = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100}


@dataclass(frozen=True)
class _EdgeLine:
    """A line near the top or bottom of a page; numbers are those that its key replaces by "#"."""

    page: int
    line: int
    key: str
    numbers: tuple[int, ...]
    text: str


def remove_running_heads(pages: Sequence[str]) -> tuple[list[str], dict[int, str]]:
    """Pages without the lines that run through them, and the printed number of each page that shows one.

    A line runs when it stands among the outermost three lines of at least 4 pages and 30% of all, alike
    but for numbers that stay the same or count the pages, with no line of the body outside it. Rows of a
    table differ in other ways and stay. The first occurrence of a line with words stays too, so that
    nothing said is lost.
    """
    lines = [page.split("\n") for page in pages]
    running = _running_lines(lines)
    first_shown: dict[str, tuple[int, int]] = {}
    for item in running:
        if any(char.isalpha() for char in item.key):
            first_shown.setdefault(item.key, (item.page, item.line))
    dropped = {(item.page, item.line) for item in running} - set(first_shown.values())
    cleaned = [
        "\n".join(line for index, line in enumerate(page_lines) if (number, index) not in dropped).strip("\n")
        for number, page_lines in enumerate(lines)
    ]
    # A page of nothing but such lines keeps them: it would look empty otherwise.
    kept = [text or page for text, page in zip(cleaned, pages, strict=True)]
    return kept, _printed_numbers(running)


def _running_lines(pages: Sequence[Sequence[str]]) -> list[_EdgeLine]:
    """Every line that runs, in the order of the document."""
    by_key: dict[tuple[str, str], list[_EdgeLine]] = defaultdict(list)
    edges: list[list[int]] = []
    for number, page in enumerate(pages):
        filled = [index for index, line in enumerate(page) if line.strip()]
        edges.append(filled)
        for edge, indexes in (("top", filled[:_EDGE_LINES]), ("bottom", filled[-_EDGE_LINES:])):
            for index in indexes:
                edge_line = _edge_line(number, index, page[index])
                by_key[edge, edge_line.key].append(edge_line)
    # In a page of a few lines the body itself is at the edge, so such pages prove nothing.
    full_pages = {number for number, filled in enumerate(edges) if len(filled) >= 2 * _EDGE_LINES}
    needed = max(_MIN_PAGES, _MIN_SHARE * len(full_pages))
    repeated: dict[int, dict[int, _EdgeLine]] = defaultdict(dict)  # page -> line -> what stands there
    counting: set[tuple[int, int]] = set()
    for group in by_key.values():
        proof = [item for item in group if item.page in full_pages]
        if len({item.page for item in proof}) < needed or not _numbers_run(proof):
            continue
        for item in group:
            repeated[item.page][item.line] = item
            if _counts_pages(proof):
                counting.add((item.page, item.line))
    return [
        found[line]
        for page, found in sorted(repeated.items())
        for line in _connected(edges[page], found, {line for number, line in counting if number == page})
    ]


def _connected(filled: Sequence[int], repeated: Collection[int], counting: Collection[int]) -> list[int]:
    """The repeated lines that nothing but repeated lines parts from the page's edge or a page number.

    A line of the body may be alike on all pages, as in a form, but it has body on both sides.
    """
    connected: set[int] = set()
    for order in (filled, filled[::-1]):
        reached = True  # the edge itself
        for line in order:
            reached = line in repeated and (reached or line in counting)
            if reached:
                connected.add(line)
    return sorted(connected)


def _edge_line(page: int, index: int, line: str) -> _EdgeLine:
    text = " ".join(line.split())
    numbers = tuple(_value(number) for number in _NUMBER.findall(text))
    return _EdgeLine(page, index, _NUMBER.sub("#", text), numbers, text)


def _numbers_run(group: Sequence[_EdgeLine]) -> bool:
    """Whether each number either stays or grows as the pages do, in most steps from page to page."""
    steps = list(zip(group, group[1:], strict=False))
    for slot in range(len(group[0].numbers)):
        num_steady = sum(
            after.numbers[slot] - before.numbers[slot] in (0, after.page - before.page)
            for before, after in steps
        )
        if num_steady < _MIN_STEADY_SHARE * len(steps):
            return False
    return True


def _counts_pages(group: Sequence[_EdgeLine]) -> bool:
    """Whether one of the line's numbers is larger on a later page."""
    return any(first < last for first, last in zip(group[0].numbers, group[-1].numbers, strict=True))


def _printed_numbers(running: Sequence[_EdgeLine]) -> dict[int, str]:
    """Page index -> printed number, from numbers that begin or end a running line and count the pages."""
    votes: dict[int, dict[int, str]] = defaultdict(dict)  # offset -> page -> number
    for item in running:
        found = list(_NUMBER.finditer(item.text))
        for match in found[:1] + found[-1:]:
            at_edge = match.start() == 0 or match.end() == len(item.text)
            if at_edge and match[0].isdecimal():
                votes[int(match[0]) - item.page].setdefault(item.page, match[0])
    best = max(votes.values(), key=len, default={})
    return best if len(best) >= _MIN_PAGES else {}


def _value(number: str) -> int:
    if number.isdecimal():
        return int(number[:18])
    values = [_ROMAN[char] for char in number]
    following = [*values[1:], 0]
    return sum(-value if value < after else value for value, after in zip(values, following, strict=True))
