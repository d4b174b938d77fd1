"""What a task tells while it works; the command line draws it, a library user may ignore it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """One moment of the work.

    phase: "parse", "load", "read", "judge" (of a document read in parts, spans by themselves), "reread" (of one, what
    bears on a question), "join" (the same, taken from the parts as it was read there), "answer", "map" (a document's
    parts are summarized), "merge" (their summaries are), "stream" (a text without end is read) or "tell" (a digest of
    it is written).
    tokens_done of tokens_total (0 when unknown) in this phase; tokens_per_s over the phase so far.
    kv_bytes: keys and values held. memory_bytes: the process's RSS, or the CUDA device's reserved bytes;
    budget_bytes: what it has to stay under, 0 before the plan is made. tokens_stored: of those done, the first so many
    are in the store: they will not be read again.
    """

    phase: str
    tokens_done: int
    tokens_total: int
    tokens_per_s: float
    kv_bytes: int
    memory_bytes: int
    budget_bytes: int = 0
    tokens_stored: int = 0


@dataclass(frozen=True)
class StreamProgress(Progress):
    """Of a text without end, whose total is not known. waiting_bytes: come, and not read yet; lag_s: how long the first
    of them has been waiting."""

    waiting_bytes: int = 0
    lag_s: float = 0.0


Observer = Callable[[Progress], None]


def silent(progress: Progress) -> None:
    """The observer of callers who want none."""
