"""The tasks by name, and which of them are set."""

from collections.abc import Mapping
from dataclasses import dataclass

from lcdoc.errors import UsageError
from lcdoc.evaluate.haystack import BOOKS
from lcdoc.evaluate.modes import STOCK, check_modes
from lcdoc.evaluate.ruler.common_words import draw_common
from lcdoc.evaluate.ruler.drawn import Draw
from lcdoc.evaluate.ruler.frequent_words import draw_frequent
from lcdoc.evaluate.ruler.needles import (
    draw_multikey,
    draw_multiquery,
    draw_multivalue,
    draw_single,
    draw_stack,
)
from lcdoc.evaluate.ruler.variables import draw_variables
from lcdoc.evaluate.whole import WHOLE_MODES

DRAWN: Mapping[str, Draw] = {
    "single": draw_single,
    "multikey": draw_multikey,
    "stack": draw_stack,
    "multivalue": draw_multivalue,
    "multiquery": draw_multiquery,
    "variables": draw_variables,
    "common": draw_common,
    "frequent": draw_frequent,
}
QA = "qa"
TASKS = (*DRAWN, QA)


@dataclass(frozen=True)
class RulerPlan:
    """Every task is set at every length, with every sample, in every mode.

    lengths: tokens of each text, at most. samples: texts of each task and length. seed: draws others. book: a shipped
    one, or a file. Raises UsageError for a value that is not allowed.
    """

    lengths: tuple[int, ...] = (1000, 4000)
    tasks: tuple[str, ...] = tuple(DRAWN)
    samples: int = 5
    seed: int = 0
    modes: tuple[str, ...] = ("exact", STOCK)
    book: str = BOOKS[0]

    def __post_init__(self) -> None:
        check_modes(self.modes, WHOLE_MODES)
        unknown = [task for task in self.tasks if task not in TASKS]
        if unknown or not self.tasks:
            named = repr(unknown[0]) if unknown else "none"
            raise UsageError(f"tasks must be some of {', '.join(TASKS)}, not {named}")
        for name, value in (("lengths", min(self.lengths, default=0)), ("samples", self.samples)):
            if value < 1:
                raise UsageError(f"{name} must be 1 or more, not {value}")
