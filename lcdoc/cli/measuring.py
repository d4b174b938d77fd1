"""Measuring step by step: each step is said and kept as it is done, so that an interrupt loses none."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

from lcdoc.cli.display import Display
from lcdoc.cli.exits import interruptible

Step = TypeVar("Step")


class Bench(Protocol):
    """What has a report of all that is measured so far."""

    def report(self) -> dict[str, Any]: ...


def measure_all(
    bench: Bench,
    steps: Iterator[Step],
    line: Callable[[Step], str],
    done: Callable[[int], str],
    json: Path | None,
    display: Display,
) -> bool:
    """Says a line for each step, and writes the report anew. done: so many steps in words. False where the user
    interrupted, which is said."""
    from lcdoc.evaluate.report import write_report

    def write() -> None:
        if json is not None:
            write_report(json, bench.report())

    number = 0
    try:
        with interruptible():
            write()  # a file that can't be written costs no measuring
            for step in steps:
                number += 1
                display.say(line(step))
                write()
            write()  # complete
    except KeyboardInterrupt:
        display.clear()
        display.say(f"interrupted after {done(number)}")
        return False
    finally:
        display.clear()
    return True
