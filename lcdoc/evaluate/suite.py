"""What every suite of `lcdoc eval` is: cells measured in a fixed order, and a report of those there are so far."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Generic, TypeVar

from lcdoc.errors import UsageError
from lcdoc.evaluate.subject import Subject
from lcdoc.tasks.progress import Observer, silent

Cell = TypeVar("Cell")


@dataclass(frozen=True)
class Round(Generic[Cell]):
    """Cells that come of one reading. measure: reads, and yields each cell as it is done."""

    num_cells: int
    measure: Callable[[Observer], Iterator[Cell]]


class Suite(ABC, Generic[Cell]):
    """A test of a model. head: what its report begins with. cells: those done, in the order of `rounds`."""

    # Whose weights are loaded once they are needed; set by each suite.
    _subject: Subject

    def __init__(self, cell_type: type[Cell], head: dict[str, Any], num_cells: int) -> None:
        self._cell_type, self._head = cell_type, head
        self.num_cells = num_cells
        self.cells: list[Cell] = []
        # Of the cells that were taken over, in their order; what is measured here has the head's.
        self._commits: list[str | None] = []

    @abstractmethod
    def rounds(self) -> Iterator[Round[Cell]]:
        """All readings, in the order they are made in; the same each time."""

    @abstractmethod
    def score(self) -> dict[str, Any]:
        """What the cells come to, ready for JSON."""

    def run(self, observer: Observer = silent) -> Iterator[Cell]:
        """Measures the cells that are not there yet, and yields each as it is done. Loads the weights if any is left.

        A reading that some cells are left of is made again in full, so that each comes to what it would have come to.
        """
        done = len(self.cells)
        for part in self.rounds():
            held = min(done, part.num_cells)
            done -= held
            if held == part.num_cells:
                continue
            self._subject.load()
            for cell in islice(part.measure(observer), held, None):
                self.cells.append(cell)
                yield cell

    def report(self) -> dict[str, Any]:
        """All there is so far, ready for JSON."""
        return self._head | {
            "commits": self._parts(),
            "complete": len(self.cells) == self.num_cells,
            "score": self.score(),
            "cells": [asdict(cell) for cell in self.cells],  # type: ignore[call-overload]
        }

    @property
    def other_commits(self) -> list[str | None]:
        """Those that cells were taken over from, besides the one that the rest is measured at."""
        return [commit for commit in dict.fromkeys(self._commits) if commit != self._head["commit"]]

    def resume(self, path: Path) -> None:
        """Takes over the cells of a report that this suite wrote before, at whichever commit. Raises UsageError for
        any other file."""
        other = UsageError(f"{path} is no result of this suite; name another file with --json")
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            head = {name: value for name, value in found.items() if name in self._head}
            cells = [self._cell_type(**cell) for cell in found["cells"]]
            parts = found.get("commits", [{"commit": found["commit"], "cells": len(cells)}])
            commits = [part["commit"] for part in parts for _ in range(part["cells"])]
        except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
            raise other from error
        wanted = json.loads(json.dumps(self._head))
        free = {"date": None, "commit": None}
        if cells and (difference := _difference(head | free, wanted | free)):
            raise UsageError(
                f"{path} was measured with {difference}; name another file with --json, or delete this one"
            )
        if len(cells) > self.num_cells or len(commits) != len(cells):
            raise other
        self.cells, self._commits = cells, commits

    def _parts(self) -> list[dict[str, Any]]:
        """How many cells in a row were measured at which commit."""
        own = [self._head["commit"]] * (len(self.cells) - len(self._commits))
        return [
            {"commit": commit, "cells": len(list(cells))} for commit, cells in groupby(self._commits + own)
        ]


def _difference(found: Any, wanted: Any, name: str = "") -> str:
    """The first thing that differs, in words; empty where nothing does."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in wanted | found:
            place = f"{name}.{key}" if name else key
            if difference := _difference(found.get(key), wanted.get(key), place):
                return difference
        return ""
    return "" if found == wanted else f"{name} {found}, not {wanted}"
