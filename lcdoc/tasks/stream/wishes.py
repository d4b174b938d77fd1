"""What is wished for from outside while a stream is followed."""

from dataclasses import dataclass, field
from threading import Event


@dataclass(frozen=True)
class Wishes:
    """Set by signals and other threads. digest: one is wished for now. stop: so is the end."""

    digest: Event = field(default_factory=Event)
    stop: Event = field(default_factory=Event)
