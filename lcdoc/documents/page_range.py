"""Page ranges as users write them: "12-40,50,60-"."""

import re
from dataclasses import dataclass

from lcdoc.errors import DocumentError, UsageError

_PART = re.compile(r"(\d+)(?:\s*(-)\s*(\d+)?)?")


@dataclass(frozen=True)
class PageRange:
    """Physical page numbers from 1; an end of None means the last page."""

    spec: str
    spans: tuple[tuple[int, int | None], ...]

    def numbers(self, num_pages: int, source: str) -> tuple[int, ...]:
        """The pages asked for, in the document's order, each once.

        Raises DocumentError when one lies outside 1..num_pages.
        """
        wanted: set[int] = set()
        for first, last in self.spans:
            end = num_pages if last is None else last
            if first > num_pages or end > num_pages:
                raise DocumentError(
                    f"{source}: page {max(first, end)} of --pages {self.spec} is outside the document's "
                    f"1-{num_pages}"
                )
            wanted.update(range(first, end + 1))
        return tuple(sorted(wanted))


def parse_page_range(spec: str) -> PageRange:
    """Read the numbers without knowing the document; raises UsageError when they make no range."""
    spans: list[tuple[int, int | None]] = []
    for part in spec.split(","):
        match = _PART.fullmatch(part.strip())
        if match is None:
            raise UsageError(f"--pages {spec!r}: {part.strip()!r} is no page range; write 12-40,50,60-")
        # A number of more digits than any document has pages would only cost memory.
        if any(len(number) > 9 for number in match.group(1, 3) if number):
            raise UsageError(f"--pages {spec!r}: {part.strip()!r} is too large for a page number")
        first = int(match[1])
        last = int(match[3]) if match[3] else None if match[2] else first
        if first < 1:
            raise UsageError(f"--pages {spec!r}: pages count from 1")
        if last is not None and last < first:
            raise UsageError(f"--pages {spec!r}: {part.strip()!r} runs backwards; write {last}-{first}")
        spans.append((first, last))
    return PageRange(spec, tuple(spans))
