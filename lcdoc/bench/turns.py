"""What a bench measures: which lengths, in which modes, how often."""

from dataclasses import dataclass
from typing import TypeVar

from lcdoc.errors import UsageError
from lcdoc.evaluate.modes import STOCK, check_modes

Taker = TypeVar("Taker")


@dataclass(frozen=True)
class Turns:
    """lengths: tokens read. modes: compared with stock, which is always measured. repeats: of each.
    Raises UsageError for a value that is not allowed."""

    lengths: tuple[int, ...] = (1024, 4096, 8192)
    modes: tuple[str, ...] = ("exact", "stream")
    repeats: int = 3

    def __post_init__(self) -> None:
        check_modes(self.modes)
        for name, value in (("lengths", min(self.lengths, default=0)), ("repeats", self.repeats)):
            if value < 1:
                raise UsageError(f"{name} must be 1 or more, not {value}")

    @property
    def contestants(self) -> tuple[str, ...]:
        """All modes, stock first."""
        return (STOCK, *(mode for mode in self.modes if mode != STOCK))

    @property
    def number(self) -> int:
        """Of turns in all: each measures one length in all modes."""
        return len(self.lengths) * self.repeats

    @staticmethod
    def order(which: tuple[Taker, ...], repeat: int) -> tuple[Taker, ...]:
        """Who takes turns: turned round at every other repeat, so that no one always comes first."""
        return which if repeat % 2 == 0 else which[::-1]
