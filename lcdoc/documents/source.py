"""Where a document's bytes come from: files, globs and standard input."""

import glob
import os
import re
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

from lcdoc.documents.limits import Limits
from lcdoc.errors import DocumentError

STDIN = "-"


def read_source(source: str, limits: Limits) -> bytes:
    """All bytes of a file, or of standard input for "-"; raises DocumentError with one line."""
    data = _read_stdin(limits) if source == STDIN else _read_file(source, limits)
    if len(data) > limits.file_bytes:
        raise DocumentError(
            f"{source}: larger than the limit of {limits.file_bytes:,} bytes; split it into smaller files"
        )
    if not data:
        raise DocumentError(f"{source}: empty, 0 bytes; nothing to read")
    return data


def expand_sources(patterns: Sequence[str]) -> list[str]:
    """Files in the order given, each glob replaced by its matches in natural order (p2 before p10).

    A file that exists under the very name of a glob ("a[1].pdf") is taken as that file.
    Raises DocumentError for a pattern without a match, a directory, or a second "-".
    """
    sources: list[str] = []
    for pattern in patterns:
        if pattern == STDIN and STDIN in sources:
            raise DocumentError("-: standard input can be read only once; name '-' a single time")
        path = Path(pattern)
        if pattern == STDIN or _exists(path) or not glob.has_magic(pattern):
            if path.is_dir() and pattern != STDIN:
                raise DocumentError(_directory_message(pattern))
            sources.append(pattern)
            continue
        # A glob that also matches folders means the files among them.
        # Path.glob takes no absolute patterns.
        names = glob.glob(pattern, recursive=True)  # noqa: PTH207
        matches = [name for name in names if not Path(name).is_dir()]
        if not matches:
            raise DocumentError(f"{pattern}: no file matches; check the pattern and the folder")
        sources.extend(sorted(matches, key=_natural))
    return sources


def _read_file(source: str, limits: Limits) -> bytes:
    path = Path(source)
    try:
        # Not to wait for a pipe's writer; what was opened is what is asked, whatever the name stands for by then.
        with open(path, "rb", opener=_without_waiting) as file:  # noqa: PTH123 - Path.open takes no opener
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                raise DocumentError(
                    f"{source}: a device or pipe, not a file; pipe it in instead and name it '-'"
                )
            data = file.read(limits.file_bytes + 1)
            if _version(before) != _version(os.fstat(file.fileno())):
                raise DocumentError(
                    f"{source}: changed while it was read; try again when nothing writes to it, or ask a copy"
                )
            return data
    except IsADirectoryError:
        raise DocumentError(_directory_message(source)) from None
    except FileNotFoundError:
        raise DocumentError(f"{source}: no such file") from None
    except ValueError:  # a NUL in the name
        raise DocumentError(f"{source!r}: not a file name") from None
    except OSError as failure:
        raise DocumentError(f"{source}: cannot be read: {failure.strerror or failure}") from None


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _version(file: os.stat_result) -> tuple[int, int]:
    return file.st_size, file.st_mtime_ns


def _read_stdin(limits: Limits) -> bytes:
    if sys.stdin is None or sys.stdin.isatty():
        raise DocumentError("-: nothing is piped in; use `lcdoc ask - QUESTION < FILE`, or name a file")
    return sys.stdin.buffer.read(limits.file_bytes + 1)


def _directory_message(source: str) -> str:
    return f"{source}: a directory; name its files, for example '{source.rstrip('/')}/*.pdf'"


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long or with a NUL; reading it says so
        return False


def _natural(name: str) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", name.casefold())
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts]
