"""One process at a time, also where one was killed within."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Others wait until it is over; the system ends it with the process. Raises OSError where nothing can be written
    there."""
    with (folder / ".lock").open("ab") as file:
        try:
            from fcntl import LOCK_EX, flock
        except ImportError:  # Windows, where nobody is kept from removing what another is about to build on
            yield
            return
        flock(file, LOCK_EX)
        yield
