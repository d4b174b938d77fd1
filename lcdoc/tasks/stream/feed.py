"""What comes through a pipe, taken by a thread into a queue that is bounded: beyond it the pipe's writer waits."""

import os
import time
from collections import deque
from threading import Condition, Thread

from lcdoc.tasks.stream.journal import Journal

LIMIT_BYTES = 1 << 20
READ_BYTES = 1 << 16


class Feed:
    """taken_bytes: handed out so far. journal_error: why the journal takes nothing any more."""

    def __init__(
        self,
        descriptor: int,
        journal: Journal | None = None,
        taken_bytes: int = 0,
        limit_bytes: int = LIMIT_BYTES,
    ) -> None:
        """descriptor: to be read. journal: keeps what was taken out of the pipe. taken_bytes: what came before."""
        self._descriptor, self._journal, self._limit_bytes = descriptor, journal, limit_bytes
        self._queue: deque[tuple[float, bytes]] = deque()
        self._changed = Condition()
        self._waiting_bytes = 0
        self._ended = False
        self._error: OSError | None = None
        self.journal_error: OSError | None = None
        self.taken_bytes = taken_bytes
        if journal is not None:
            for data in journal.after(taken_bytes):
                self._put(data)

    def start(self) -> None:
        Thread(target=self._run, name="lcdoc stream's input", daemon=True).start()

    def take(self, timeout_s: float) -> bytes:
        """What came first, or nothing within that time. Raises OSError where the pipe failed."""
        with self._changed:
            if not self._queue and not self._ended:
                self._changed.wait(timeout_s)
            if not self._queue:
                if self._error is not None:
                    raise self._error
                return b""
            _, data = self._queue.popleft()
            self._waiting_bytes -= len(data)
            self.taken_bytes += len(data)
            self._changed.notify_all()
            return data

    @property
    def ended(self) -> bool:
        """Whether all was handed out, and no more will come."""
        with self._changed:
            return self._ended and not self._queue

    @property
    def waiting_bytes(self) -> int:
        """In the queue."""
        return self._waiting_bytes

    @property
    def lag_s(self) -> float:
        """How long the first of them has been waiting."""
        with self._changed:
            return time.monotonic() - self._queue[0][0] if self._queue else 0.0

    def _run(self) -> None:
        try:
            while data := os.read(self._descriptor, READ_BYTES):
                self._keep(data)
                self._put(data)
                with self._changed:
                    self._changed.wait_for(lambda: self._waiting_bytes < self._limit_bytes)
        except OSError as error:
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _keep(self, data: bytes) -> None:
        """In the journal; where that has no room, what comes from now on is lost with the process."""
        if self._journal is None or self.journal_error is not None:
            return
        try:
            self._journal.append(data)
        except OSError as error:
            self.journal_error = error

    def _put(self, data: bytes) -> None:
        with self._changed:
            self._queue.append((time.monotonic(), data))
            self._waiting_bytes += len(data)
            self._changed.notify_all()
