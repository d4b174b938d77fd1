"""Measurements one after another until a deadline: each is done, cut, skipped or failed, and says why."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lcdoc.errors import LcdocError

DONE, CUT, SKIPPED, FAILED = "done", "cut", "skipped", "failed"


class OutOfTimeError(LcdocError):
    """The deadline came while something was measured."""


class Deadline:
    """So many seconds from now."""

    def __init__(self, seconds: float) -> None:
        self._stop = time.monotonic() + seconds

    @property
    def left_s(self) -> float:
        return self._stop - time.monotonic()

    def check(self) -> None:
        """Raises OutOfTimeError once it is over."""
        if self.left_s < 0:
            raise OutOfTimeError("the deadline came")


@dataclass(frozen=True)
class Item:
    """needs_s, needs_bytes: what it takes at least, or it is not begun. run: fills in what it finds, as it finds it, so
    that a cut leaves what was found; it checks the deadline where it can."""

    name: str
    needs_s: float
    needs_bytes: int
    run: Callable[[dict[str, Any]], None]


def run_items(
    items: Iterator[Item], deadline: Deadline, free_bytes: Callable[[], int]
) -> Iterator[Mapping[str, Any]]:
    """What became of each item, in order: its name, its status, its seconds, why it is not done, and what it found.

    free_bytes: what the device could still take.
    """
    for item in items:
        found: dict[str, Any] = {}
        started, status, reason = time.monotonic(), DONE, None
        lack = _lack(item, deadline.left_s, free_bytes())
        if lack:
            status, reason = SKIPPED, lack
        else:
            try:
                item.run(found)
            except OutOfTimeError as error:
                status, reason = CUT, str(error)
            except (
                LcdocError,
                RuntimeError,
            ) as error:  # one that fails, of memory or else, leaves the others
                status, reason = FAILED, f"{type(error).__name__}: {str(error).splitlines()[0]}"
        seconds = time.monotonic() - started
        yield {"item": item.name, "status": status, "seconds": seconds, "reason": reason, **found}


def _lack(item: Item, left_s: float, free_bytes: int) -> str | None:
    if item.needs_s > left_s:
        return f"takes about {item.needs_s:.0f} s, and {max(0.0, left_s):.0f} s are left; give a later --deadline"
    if item.needs_bytes > free_bytes:
        return f"takes {item.needs_bytes / 1e9:.1f} GB, and {free_bytes / 1e9:.1f} GB of the device are free"
    return None
