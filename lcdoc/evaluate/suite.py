"""What every suite of `lcdoc eval` is: cells measured in a fixed order, and a report of those there are so far."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

from lcdoc.errors import UsageError
from lcdoc.tasks.progress import Observer, silent

Cell = TypeVar("Cell")


@dataclass(frozen=True)
class Round(Generic[Cell]):
    """Cells that come of one reading. measure: reads, and yields each cell as it is done."""

    num_cells: int
    measure: Callable[[Observer], Iterator[Cell]]


class Suite(ABC, Generic[Cell]):
    """A test whose model is loaded. head: what its report begins with. cells: those done, in the order of `rounds`."""

    def __init__(self, cell_type: type[Cell], head: dict[str, Any], num_cells: int) -> None:
        self._cell_type, self._head = cell_type, head
        self.num_cells = num_cells
        self.cells: list[Cell] = []

    @abstractmethod
    def rounds(self) -> Iterator[Round[Cell]]:
        """All readings, in the order they are made in; the same each time."""

    @abstractmethod
    def score(self) -> dict[str, Any]:
        """What the cells come to, ready for JSON."""

    def run(self, observer: Observer = silent) -> Iterator[Cell]:
        """Measures the cells that are not there yet, and yields each as it is done.

        A reading that some cells are left of is made again in full, so that each comes to what it would have come to.
        """
        done = len(self.cells)
        for part in self.rounds():
            held = min(done, part.num_cells)
            done -= held
            if held == part.num_cells:
                continue
            for cell in islice(part.measure(observer), held, None):
                self.cells.append(cell)
                yield cell

    def report(self) -> dict[str, Any]:
        """All there is so far, ready for JSON."""
        return self._head | {
            "complete": len(self.cells) == self.num_cells,
            "score": self.score(),
            "cells": [asdict(cell) for cell in self.cells],  # type: ignore[call-overload]
        }

    def resume(self, path: Path) -> None:
        """Takes over the cells of a report that this suite wrote before. Raises UsageError for any other file."""
        other = UsageError(f"{path} is no result of this suite; name another file with --json")
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            head = {name: value for name, value in found.items() if name in self._head}
            cells = [self._cell_type(**cell) for cell in found["cells"]]
        except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
            raise other from error
        wanted = json.loads(json.dumps(self._head))
        if difference := _difference(head | {"date": None}, wanted | {"date": None}):
            raise UsageError(
                f"{path} was measured with {difference}; name another file with --json, or delete this one"
            )
        if len(cells) > self.num_cells:
            raise other
        self.cells = cells


def _difference(found: Any, wanted: Any, name: str = "") -> str:
    """The first thing that differs, in words; empty where nothing does."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in wanted | found:
            place = f"{name}.{key}" if name else key
            if difference := _difference(found.get(key), wanted.get(key), place):
                return difference
        return ""
    return "" if found == wanted else f"{name} {found}, not {wanted}"
