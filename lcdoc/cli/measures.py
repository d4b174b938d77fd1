"""Numbers as people read them."""

from collections.abc import Iterable

UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def bytes_text(num_bytes: int) -> str:
    """1536 -> "1.5 KiB"."""
    size, unit = float(num_bytes), 0
    while size >= 1023.95 and unit < len(UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{num_bytes} B" if unit == 0 else f"{size:.1f} {UNITS[unit]}"


def clock(seconds: float) -> str:
    """75 -> "1:15"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def count(number: int, noun: str) -> str:
    """(1, "page") -> "1 page", (1200, "page") -> "1,200 pages"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def ranges(numbers: Iterable[int]) -> str:
    """[1, 2, 3, 7] -> "1-3, 7"."""
    spans: list[list[int]] = []
    for number in sorted(set(numbers)):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(f"{first}-{last}" if last > first else f"{first}" for first, last in spans)
