"""How much of a text without end is held, and where it lies in the cache."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StreamSizes:
    """In tokens. sink: the first ones, which stay. keep: of those that left the window, the most that stay. window: the
    last ones, which all stay. chunk: so many leave the window at once, and are read at once. after: room for what is
    put to the model and taken back."""

    sink: int
    keep: int
    window: int
    chunk: int
    after: int

    def __post_init__(self) -> None:
        assert min(self.sink, self.keep, self.after) >= 0 and min(self.window, self.chunk) > 0

    @property
    def held(self) -> int:
        """The most that stays."""
        return self.sink + self.keep + self.window

    @property
    def capacity(self) -> int:
        """The most at any time; no position is beyond it."""
        return self.held + self.chunk + self.after
