"""What was taken out of a pipe since the last save, in a file beside it: a killed process has not lost it."""

import os
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

from lcdoc.engine.replacing import replacing
from lcdoc.errors import LcdocError

HEAD = b"lcdoc journal "
HEAD_BYTES = len(HEAD) + 20
PIECE_BYTES = 1 << 16


class Journal:
    """A first line says how many bytes of the stream came before. Two threads may use it. The file holds the stream's
    content, for its owner alone. start: bytes of the stream before it."""

    def __init__(self, path: Path) -> None:
        """Begins it anew, or goes on with the one that is there. Raises LcdocError."""
        self.path, self._lock = path, Lock()
        start = self._stored_start()
        self._file = self._begin(0) if start is None else self._open()
        self.start = start or 0

    @property
    def stop(self) -> int:
        """Bytes of the stream up to its end."""
        with self._lock:
            return self.start + os.fstat(self._file).st_size - HEAD_BYTES

    def append(self, data: bytes) -> None:
        """Raises OSError."""
        with self._lock:
            view = memoryview(data)
            while view:
                view = view[os.write(self._file, view) :]

    def after(self, taken_bytes: int) -> Iterator[bytes]:
        """What it has of the stream from there on."""
        with self._lock, self.path.open("rb") as file:
            if taken_bytes < self.start:
                return
            file.seek(HEAD_BYTES + taken_bytes - self.start)
            while data := file.read(PIECE_BYTES):
                yield data

    def forget(self, taken_bytes: int) -> None:
        """What came up to there is saved elsewhere."""
        with self._lock:
            with self.path.open("rb") as file:
                file.seek(HEAD_BYTES + taken_bytes - self.start)
                left = file.read()
            new = self._begin(taken_bytes, left)
            os.close(self._file)
            self._file, self.start = new, taken_bytes

    def restart(self, taken_bytes: int) -> None:
        """Empty, after so many bytes."""
        with self._lock:
            new = self._begin(taken_bytes)
            os.close(self._file)
            self._file, self.start = new, taken_bytes

    def _stored_start(self) -> int | None:
        """None where there is no journal."""
        try:
            with self.path.open("rb") as file:
                head = file.read(HEAD_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LcdocError(f"{self.path}: can't be read: {error.strerror}") from error
        number = head.removeprefix(HEAD)
        if len(head) != HEAD_BYTES or number == head or not number.strip().isdigit():
            raise LcdocError(f"{self.path}: is no journal of lcdoc's; name another file with --state")
        return int(number)

    def _begin(self, taken_bytes: int, data: bytes = b"") -> int:
        with replacing(self.path, "the journal") as new:
            new.write_bytes(HEAD + f"{taken_bytes:<19}\n".encode() + data)
        return self._open()

    def _open(self) -> int:
        try:
            return os.open(self.path, os.O_WRONLY | os.O_APPEND)
        except OSError as error:
            raise LcdocError(f"{self.path}: can't be written: {error.strerror}") from error
